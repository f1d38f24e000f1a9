"""A table goes in; its header, its rows and the columns that we know by name come out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from ...errors import ConfigError, suggest
from .cells import check_header, check_width, first_cells, table_cut
from .source import Held, Report, lines_of

# Names of columns, without case, blanks and punctuation; the first one present is taken.
SENTENCE_IDS = (
    *("sentence", "sentenceid", "sentenceidx", "sentenceno", "sentencenum", "sentid", "sid"),
)
WORDS = ("word", "token", "form", "words", "tokens")
WORD_TAGS = ("tag", "ner", "nertag", "entity", "tags", "label", "bio", "iob", "nertags", "labels")
TEXTS = (
    *("text", "sentence", "review", "content", "utterance", "tweet", "comment", "message", "body"),
    *("description", "document", "article", "abstract", "post", "email", "sms", "reviewtext"),
    *("commenttext", "tweettext", "sentences", "texts", "input", "question", "query", "headline"),
    *("title", "tokens", "words", "phrase", "prompt", "transcript", "statement", "v2"),
    "utt",
)
BODIES = ("text", "description", "content", "body", "article", "abstract")  # may have a title
LABELS = (
    *("label", "class", "category", "target", "labels", "classes", "classindex", "classlabel"),
    *("goldlabel", "intent", "sentiment", "emotion", "topic", "polarity", "stars", "rating"),
    *("categories", "intents", "emotions", "topics", "airlinesentiment", "domain", "output"),
    *("tags", "tag", "nertags", "wordlabels", "slots", "y", "v1"),
)
GENERIC_LABELS = LABELS[:9]
PAIRS = (
    *(("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2")),
    *(("texta", "textb"), ("text1", "text2"), ("sentencea", "sentenceb"), ("anchor", "positive")),
    *(("source1", "source2"), ("1string", "2string"), ("s1", "s2"), ("query", "passage")),
)
PAIR_SCORES = ("score", "similarity", "similarityscore", "relatednessscore")
PAIR_CLASSES = (
    *("label", "goldlabel", "class", "isduplicate", "quality", "entailment", "entailmentjudgment"),
    "target",
)
QUESTIONS = ("question", "query", "questiontext", "q")
ANSWERS = ("answer", "answers", "answertext", "answerstext")
CONTEXTS = ("context", "passage", "paragraph", "ctx")
WHAT_WE_KNOW = (
    "name them text and label; sentence1, sentence2 and score; word and tag; text and tags; or "
    "context, question and answer (see docs/data.md)"
)


def plain_name(name: str) -> str:
    """A column's name without case, blanks and punctuation; `Sentence #` is a number, not text."""
    # `Sentence #`, `sentence_no` and `SentenceNo` are all the same column.
    return re.sub(r"[\W_]+", "", re.sub(r"(?<=\w)\s*#$", "no", name.strip().lower()))


def counts_rows(name: str) -> bool:
    """Whether a column only counts the rows: pandas writes one without a name."""
    return plain_name(name) in ("", "unnamed0", "index", "idx", "id")


def delimiters(text: str) -> list[str]:
    """The characters that may separate cells, the most frequent first."""
    # The header alone: the texts below it are full of commas.
    first = next((line for line in lines_of(text) if line.strip()), "")
    return sorted((sign for sign in "\t,;|" if sign in first), key=first.count, reverse=True)


class Table:
    """A table in parts: the names of its columns, and its rows with the lines they begin in.

    Its first full pass finds every row of another width than the header, and broken quotes.

    Args:
        lines: gives its lines, with their ends.
        report: of the file.
        held: what becomes of rows between two passes, `in_memory` or `Passes`.
        known: whether the plain names of a header are ones that we know.
        delimiter: between the cells of a table without a header.

    Attributes:
        names: of the columns; none without a header that we know.
        width: how many columns there are.
        rows: all of them but the header; empty ones have no cells.
        full: those that hold something, and have the width of the table.
        n: how many rows are full.
    """

    def __init__(
        self,
        lines: Callable[[Report], Iterator[str]],
        report: Report,
        held: Held,
        known: Callable[[set[str]], bool],
        delimiter: str | None = None,
    ) -> None:
        first = next(line for line in lines(report) if line.strip())
        # By a header that we know, not by the most common separator: a text may be full of commas.
        signs = (sign for sign in delimiters(first) if known(_names_in(first, sign)))
        sign = next(signs, None)
        cut = table_cut(partial(lines, report), sign or delimiter or ",", report.path)
        line, header = next(cut(), (0, []))
        self.path, self.width = report.path, len(header)
        # No known header: the table has none, and its first row is data.
        self.names = header if sign else []
        # Columns without a name may be empty: spreadsheets write them.
        check_header([name for name in self.names if name.strip()], self.path, line)
        self.rows = held(lambda _: islice(cut(), bool(sign), None), report)
        self.full = held(self._full_rows, report)
        self.n = sum(1 for _ in self.full)

    def _full_rows(self, report: Report) -> Iterator[tuple[int, list[str]]]:
        for line, cells in self.rows:
            # An empty row is not a fault: in tables of words it ends a sentence.
            if cells:
                with report.record(line):
                    check_width(cells, self.width)
                    yield line, cells

    def cells(self, place: int) -> Iterator[str]:
        """The cells of a column."""
        return (cells[place] for _, cells in self.full)

    def find(self, names: Iterable[str]) -> int | None:
        """The column of the first of some names."""
        plain = [plain_name(name) for name in self.names]
        # In the order of the names, not of the columns: the likeliest name wins.
        return next((plain.index(name) for name in names if name in plain), None)

    def needed(self, names: Iterable[str]) -> int:
        """The same, if `known` has made sure that one of the names is there."""
        place = self.find(names)
        assert place is not None
        return place

    def chosen(self, column: int | str) -> int:
        """The column given by name or number.

        Raises:
            ConfigError: there is no such column.
        """
        text = str(column).strip()
        if text in self.names:  # a name before a number: a column may be called "2"
            return self.names.index(text)
        place = self.find([plain_name(text)]) if plain_name(text) else None
        if place is not None:
            return place
        if text.isdecimal() and 1 <= int(text) <= self.width:
            return int(text) - 1
        fix = f"give its number, from 1 to {self.width}"
        fix += f", or its name: {suggest(text, self.names)}" if self.names else ""
        raise ConfigError(f"there is no column {text!r}", path=self.path, fix=fix)

    def note_unread(self, read: Iterable[int | None], report: Report) -> None:
        names = self.names or [f"column {i + 1}" for i in range(self.width)]
        # Reported, so that nobody believes an unread column was learned from.
        unread = [name for i, name in enumerate(names) if i not in set(read) and name.strip()]
        if unread:
            report.notes.append(f"columns that are not read: {', '.join(unread)}")


def _names_in(line: str, delimiter: str) -> set[str]:
    return {plain_name(name) for name in first_cells(line, delimiter)}
