"""Files in, examples out, and back.

CoNLL columns for entities, SQuAD JSON or tables for questions, JSON records for labelled texts and
for pairs of sentences.

A reader looks at the whole file before it complains: every fault is collected, with its line and
what to do about it, and all are raised together. With `on_error="skip"` the bad records are left
out instead, and a `DataWarning` says how many.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, DataError, DataWarning, Fault
from ..files import write_atomically
from .examples import Answer, NERExample, PairExample, QAExample, TextExample, check_unicode
from .tokenization import split_words

FilePath = str | os.PathLike[str]

# --- for every reader and writer ----------------------------------------------------------------


class _Report:
    """What is wrong with a file, and what its user should know of it; `finish` says it all."""

    def __init__(self, path: FilePath, on_error: str) -> None:
        if on_error not in ("stop", "skip"):
            fix = 'use "stop" to list all bad records, or "skip" to leave them out'
            raise ConfigError("on_error is unknown", found=repr(on_error), fix=fix)
        self.path = str(path)
        self.skip = on_error == "skip"
        self.faults: list[Fault] = []
        self.bad_records = 0
        self.notes: list[str] = []

    @contextmanager
    def record(self, line: int | None, where: str = "") -> Iterator[None]:
        """Collect what is raised about one record, and say where in the file the record is."""
        try:
            yield
        except DataError as error:
            self.bad_records += 1
            for fault in error.faults:
                place = {"path": self.path, "line": fault.line or line}
                self.faults.append(replace(fault, what=fault.what + where, **place))

    def finish(self, examples: list[Any], kind: str) -> list[Any]:
        """The examples, or one error that holds every fault."""
        faults = sorted(self.faults, key=lambda fault: fault.line or 0)
        if faults and not self.skip:
            raise DataError.collect(faults)
        if faults:
            self.notes.append(f"bad records left out: {self.bad_records}. The first: {faults[0]}")
        if not examples:
            found = "; ".join(self.notes) or None
            what, fix = f"the file gives no {kind}", "give it at least one"
            raise DataError(what, path=self.path, found=found, fix=fix)
        for note in self.notes:
            warnings.warn(f"{self.path}: {note}", DataWarning, stacklevel=3)
        return examples


def read_text(path: FilePath) -> str:
    """The text of a file in UTF-8, with or without a byte order mark."""
    try:
        raw = Path(path).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        found, fix = error.strerror, f"check the path (you are in {Path.cwd()})"
        raise DataError("the file cannot be read", path=path, found=found, fix=fix) from None
    except UnicodeDecodeError as error:
        *above, before = _lines(error.object[: error.start].decode())
        place = {"path": path, "line": len(above) + 1}
        found = f"byte 0x{error.object[error.start]:02x} after {before[-30:]!r}"
        code = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
        fix = f"save the file as UTF-8, for example: iconv -f {code} -t UTF-8 OLD > NEW"
        raise DataError("the file is not UTF-8", found=found, fix=fix, **place) from None
    if not text.strip():
        fix = "check that it was written to the end"
        raise DataError("the file is empty", path=path, found=f"{len(raw)} bytes, no text", fix=fix)
    return text


def _lines(text: str) -> list[str]:
    """The lines of a text. `str.splitlines` would also cut at characters that tokens may hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _short(value: object, limit: int = 300) -> str:
    """How Python prints a value, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


# --- CoNLL --------------------------------------------------------------------------------------

Rows = list[tuple[int, list[str]]]  # line numbers and columns


class _Sentence(NamedTuple):
    line: int  # of its first token; the others follow, one a line
    tokens: list[str]
    tags: list[str]

    def __str__(self) -> str:
        return f"tokens {_short(self.tokens)}, tags {_short(self.tags)}"


def read_conll(path: FilePath, on_error: str = "stop") -> list[NERExample]:
    """Read a CoNLL file: one token a line, a blank line after each sentence.

    Columns stand between tabs or blanks; the token is the first, its tag the last. The tag scheme
    (IOB1, IOB2, BIOES or its twin BILOU) is the one that the file breaks least often; tags become
    IOB2. Sources: Tjong Kim Sang and De Meulder (2003), "Introduction to the CoNLL-2003 shared
    task", section 2.2; for the schemes, Ratinov and Roth (2009), "Design challenges and
    misconceptions in named entity recognition", section 3.2.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the sentences that have one.

    Raises:
        DataError: the file cannot be read or is empty; a line has too few or too many columns; a
            tag is of no known scheme or breaks the scheme of the file.
        ConfigError: `on_error` is something else.
    """
    report = _Report(path, on_error)
    blocks = list(_blocks(read_text(path)))
    width = _usual_width(blocks)
    sentences = []
    for block in blocks:
        with report.record(block[0][0]):
            sentences.append(_sentence(block, width))
    scheme = _scheme(sentence.tags for sentence in sentences)
    examples = []
    for sentence in sentences:
        with report.record(sentence.line):
            _check_scheme(sentence, scheme)
            examples.append(NERExample(tuple(sentence.tokens), tuple(_iob2(sentence.tags))))
    return report.finish(examples, "sentence")


def _blocks(text: str) -> Iterator[Rows]:
    """The rows of each sentence."""
    rows = enumerate(map(_columns, _lines(text)), start=1)
    for is_sentence, block in groupby(rows, key=lambda row: bool(row[1])):
        if is_sentence:
            yield list(block)


def _columns(line: str) -> list[str]:
    """The columns of a line; none where the line only parts sentences or documents."""
    line = line.rstrip(" \t")
    if "\t" in line:
        columns = [column.strip(" ") for column in line.split("\t")]
    else:
        columns = [column for column in line.split(" ") if column]
    return [] if not line.strip() or columns[0] == "-DOCSTART-" else columns


def _usual_width(blocks: list[Rows]) -> int:
    """The number of columns that most lines have, at least two."""
    counts = Counter(len(columns) for block in blocks for _, columns in block)
    return max(2, max(counts, key=lambda width: (counts[width], width), default=2))


def _sentence(rows: Rows, width: int) -> _Sentence:
    """The tokens and tags of a sentence, once every line is known to have both."""
    tags = [columns[-1] for _, columns in rows if len(columns) == width]
    sentence = _Sentence(rows[0][0], [columns[0] for _, columns in rows], tags)
    faults = [_fault(line, columns, width, sentence) for line, columns in rows]
    if any(faults):
        raise DataError.collect([fault for fault in faults if fault])
    return sentence


def _fault(line: int, columns: list[str], width: int, sentence: _Sentence) -> Fault | None:
    """What is wrong with a line, whatever the tag scheme."""
    if len(columns) != width:
        what = f"{len(columns)} column(s) where {width} are needed, in a sentence of "
        what += f"{len(sentence.tokens)} tokens with {len(sentence.tags)} tags"
        found = f"{' '.join(columns)!r} in the sentence with {sentence}"
        fix = "write the token first and its tag last, with a tab between them"
        return Fault(what, line=line, found=found, fix=fix)
    if not re.fullmatch("O|[BIESLU]-.+", columns[-1]):
        found = f"{columns[-1]!r} at the token {columns[0]!r}"
        fix = "use O, B-TYPE and I-TYPE, as in B-PER I-PER O (IOB1, IOB2, BIOES, BILOU are known)"
        return Fault("the tag is of no known scheme", line=line, found=found, fix=fix)
    return None


# In which scheme may `tag` not follow `before`? O stands before and after a sentence, [1:] is the
# type of an entity.
_BREAKS = {
    "IOB2": lambda before, tag: tag[0] in "ESLU" or (tag[0] == "I" and before[1:] != tag[1:]),
    "IOB1": lambda before, tag: tag[0] in "ESLU" or (tag[0] == "B" and before[1:] != tag[1:]),
    "BIOES": lambda before, tag: (
        (before[0] in "BI") != (tag[0] in "IEL") or (tag[0] in "IEL" and before[1:] != tag[1:])
    ),
}
_RULES = {
    "IOB2": "begin every entity with B- and go on with I-",
    "IOB1": "begin entities with I-; B- only parts two neighbours of one type",
    "BIOES": "write S- (U-) for an entity of one word, and B- I- E- (L-) for a longer one",
}


def _pairs(tags: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(["O", *tags], [*tags, "O"], strict=True)


def _scheme(sentences: Iterable[list[str]]) -> str:
    """The scheme that the tags of a file break least often; IOB2 where several do."""
    pairs = Counter(pair for tags in sentences for pair in _pairs(tags))
    breaks = {
        scheme: sum(count for pair, count in pairs.items() if is_broken(*pair))
        for scheme, is_broken in _BREAKS.items()
    }
    return min(breaks, key=breaks.__getitem__)


def _check_scheme(sentence: _Sentence, scheme: str) -> None:
    faults: dict[int, Fault] = {}  # one a line
    last_line = sentence.line + len(sentence.tokens) - 1
    for line, (before, tag) in enumerate(_pairs(sentence.tags), start=sentence.line):
        if _BREAKS[scheme](before, tag):
            line = min(line, last_line)
            what = f"{tag} after {before} breaks {scheme}, the tag scheme of this file"
            fault = Fault(what, line=line, found=str(sentence), fix=_RULES[scheme])
            faults.setdefault(line, fault)
    if faults:
        raise DataError.collect(list(faults.values()))


def _iob2(tags: Sequence[str]) -> Iterator[str]:
    """Tags that keep to any of the schemes, as IOB2."""
    for before, tag in zip(["O", *tags[:-1]], tags, strict=True):
        begins = tag[0] in "BSU" or before[1:] != tag[1:]
        yield tag if tag == "O" else ("B" if begins else "I") + tag[1:]


def write_conll(examples: Iterable[NERExample], path: FilePath) -> None:
    """Write sentences as `token TAB tag` lines in IOB2; `read_conll` gives equal examples back.

    Raises:
        DataError: a token or tag that the format cannot hold, such as one with a tab in it; the
            file cannot be written.
    """
    sentences = ["".join(map(_conll_line, e.tokens, e.tags)) for e in examples]
    write_atomically(path, "\n".join(sentences))


def _conll_line(token: str, tag: str) -> str:
    line = f"{token}\t{tag}"
    if _lines(line) != [line] or _columns(line) != [token, tag] or token.startswith("\ufeff"):
        found = f"{token!r} with the tag {tag!r}"
        fix = "take out tabs, line breaks, outer blanks, byte order marks and -DOCSTART-"
        raise DataError("a CoNLL file cannot hold this token", found=found, fix=fix)
    return f"{line}\n"


# --- SQuAD --------------------------------------------------------------------------------------

_SQUAD_FORM = (
    'SQuAD looks like {"data": [{"title": "...", "paragraphs": [{"context": "...", "qas": [{"id": '
    '"...", "question": "...", "answers": [{"text": "...", "answer_start": 0}]}]}]}]}'
)


class _Question(NamedTuple):
    """A question as the file has it; its answers in any of the forms that `_answers` reads."""

    id: str
    question: str
    context: str
    answers: Any
    line: int | None
    where: str = ""


def read_squad(path: FilePath, on_error: str = "stop") -> list[QAExample]:
    """Read questions with their contexts and answers: SQuAD JSON, or a table (CSV, TSV).

    JSON is SQuAD v1.1 (Rajpurkar et al. 2016) or v2.0 (Rajpurkar et al. 2018), whose unanswerable
    questions are left out and counted in a `DataWarning`. A table has columns for context, question
    and answer under any usual name, and may have one for the offset of the answer in characters of
    the context, and one for an id. Without an offset the first occurrence of the answer is taken; a
    `DataWarning` counts the questions where there are several.

    Args:
        path: a UTF-8 file whose name ends in .json, .jsonl (one question a line, as `write_jsonl`
            writes them), .csv or .tsv.
        on_error: "stop" raises all faults together; "skip" leaves out the questions that have one.

    Raises:
        DataError: the file cannot be read, is empty, is not SQuAD or lacks a column; an answer that
            is not in its context, or not at its offset.
        ConfigError: `on_error` is something else.
    """
    report = _Report(path, on_error)
    text = read_text(path)
    suffix = Path(path).suffix.lower()
    forms = {".json": _from_json, ".jsonl": _from_lines, ".csv": _from_table, ".tsv": _from_table}
    if suffix not in forms:
        what = f"questions are read from files named {', '.join(forms)}"
        fix = "rename the file for what is in it"
        raise DataError(what, path=path, found=f"the ending {suffix!r}", fix=fix)
    questions = forms[suffix](text, report)
    examples, unanswerable, ambiguous = [], [], []
    for question in questions:
        with report.record(question.line, question.where):
            answers = _answers(question.answers)
            if not answers:
                unanswerable.append(question)
                continue
            located = tuple(_located(*answer, question) for answer in answers)
            examples.append(QAExample(question.id, question.question, question.context, located))
            if any(_is_ambiguous(*answer, question) for answer in answers):
                ambiguous.append(question)
    if unanswerable:
        report.notes.append(f"unanswerable questions left out: {_counted(unanswerable)}")
    if ambiguous:
        report.notes.append(
            f"answers without an offset that occur more than once in their context, the first of "
            f"which was taken: {_counted(ambiguous)}. Give answer_start to be exact"
        )
    return report.finish(examples, "question with an answer")


def _counted(questions: list[_Question], most: int = 5) -> str:
    places = [f"line {q.line}" if q.line else f"question {q.id!r}" for q in questions[:most]]
    return f"{len(questions)} ({', '.join(places)}{', ...' if len(questions) > most else ''})"


def _answers(value: Any) -> list[tuple[str, int | None]]:
    """Text and offset of each answer: from SQuAD's list, from the columns that the `datasets`
    library makes of it ({"text": [...], "answer_start": [...]}), or from bare texts.
    """
    match value:
        case str(text):
            return [(text, None)]
        case {"text": str(text)}:
            return [(text, _offset(value.get("answer_start")))]
        case [*items]:
            return [answer for item in items for answer in _answers(item)]
        case {"text": [*texts], "answer_start": [*starts]} if len(texts) == len(starts):
            pairs = zip(texts, starts, strict=True)
            return _answers([{"text": text, "answer_start": start} for text, start in pairs])
        case {"text": [*texts]} if value.get("answer_start") is None:
            return _answers(texts)
    fix = 'write it as {"text": "...", "answer_start": 0}'
    raise DataError("an answer is not a text with its offset", found=_short(value), fix=fix)


def _offset(value: Any) -> int | None:
    if value is None or value == "":
        return None
    with suppress(TypeError, ValueError, OverflowError):
        if int(float(value)) == float(value):
            return int(float(value))
    fix = "count the characters of the context before the answer"
    raise DataError("an answer offset is not a whole number", found=_short(value), fix=fix)


def _located(text: str, start: int | None, question: _Question) -> Answer:
    """The answer at its offset or, without one, where its text first occurs."""
    if start is not None:
        return Answer(text, start)
    text = text.strip()
    if text not in question.context:
        what = f"the answer of question {question.id!r} is not in its context"
        found = f"answer {_short(text)}, context {_short(question.context)}"
        raise DataError(what, found=found, fix="copy the answer letter by letter from the context")
    return Answer(text, question.context.index(text))


def _is_ambiguous(text: str, start: int | None, question: _Question) -> bool:
    return start is None and question.context.count(text.strip()) > 1


def _from_json(text: str, report: _Report) -> Iterator[_Question]:
    if text.lstrip().startswith("["):
        yield from _from_lines(text, report)
        return
    try:
        squad = json.loads(text)
    except json.JSONDecodeError as error:
        place = {"path": report.path, "line": error.lineno}
        found = f"{error.msg.removesuffix(' at')} at column {error.colno}"
        raise DataError("this is not JSON", found=found, fix=_SQUAD_FORM, **place) from None
    except (ValueError, RecursionError) as error:
        found = _reason(error)
        raise DataError(
            "this is not SQuAD", path=report.path, found=found, fix=_SQUAD_FORM
        ) from None
    lines = _lines_of_ids(text)
    number = 0
    for paragraph, where in _paragraphs(squad, report):
        with report.record(None, where):
            context = _field(paragraph, "context", str)
            for qa in _field(paragraph, "qas", list):
                number += 1
                name = str(qa.get("id", number)) if isinstance(qa, dict) else str(number)
                line = lines.get(name)
                with report.record(line, where):
                    question = _field(qa, "question", str)
                    answers = [] if qa.get("is_impossible") else _field(qa, "answers", list)
                    yield _Question(name, question, context, answers, line, where)


def _from_lines(text: str, report: _Report) -> Iterator[_Question]:
    for number, (line, qa) in enumerate(_records(text, report), start=1):
        with report.record(line):
            name = str(qa.get("id", number)) if isinstance(qa, dict) else str(number)
            question, context = _field(qa, "question", str), _field(qa, "context", str)
            answers = [] if qa.get("is_impossible") else qa.get("answers")
            if not isinstance(answers, dict):  # as the `datasets` library writes them
                answers = _field({"answers": answers}, "answers", list)
            yield _Question(name, question, context, answers, line)


def _paragraphs(squad: Any, report: _Report) -> Iterator[tuple[Any, str]]:
    """Every paragraph, and in words the article it stands in."""
    with report.record(None):
        for number, article in enumerate(_field(squad, "data", list), start=1):
            with report.record(None, f" (article {number})"):
                paragraphs = _field(article, "paragraphs", list)
                where = f" (article {article.get('title', number)!r})"
                yield from ((paragraph, where) for paragraph in paragraphs)


def _field(record: Any, key: str, kind: type) -> Any:
    """`record[key]`, if it is there and of the right kind."""
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, kind):
        return value
    found = _outline(record) if value is None else f'"{key}" is {_outline(value)}'
    what = f'this is not SQuAD: no {"text" if kind is str else "list"} "{key}"'
    raise DataError(what, found=found, fix=_SQUAD_FORM)


def _outline(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {', '.join(map(repr, value)) or '(none)'}"
    return f"a list of {len(value)}" if isinstance(value, list) else _short(value, 80)


def _lines_of_ids(text: str) -> dict[str, int]:
    """The line of every "id" in a JSON text; what json.loads gives no longer knows it."""
    line, position = 1, 0
    lines: dict[str, int] = {}
    for match in re.finditer(r'"id"\s*:\s*(?:"([^"\\]*)"|(\d+))', text):
        line += text.count("\n", position, match.start())
        position = match.start()
        lines.setdefault(match[1] or match[2], line)
    return lines


_ALIASES = {  # without case, blanks and punctuation; where several are there the first is taken
    "context": ("context", "passage", "paragraph", "document", "article", "ctx", "text"),
    "question": ("question", "query", "questiontext", "q"),
    "answer": ("answer", "answers", "answertext", "answerstext"),
    "start": ("answerstart", "answersanswerstart", "answeroffset", "start", "offset", "startchar"),
    "id": ("id", "qid", "questionid"),
}


def _from_table(text: str, report: _Report) -> Iterator[_Question]:
    (header_line, header), *rows = _rows(text, report.path) or [(1, [])]
    columns = _known_columns(header, {"path": report.path, "line": header_line})
    for number, (line, row) in enumerate(rows, start=1):
        with report.record(line):
            if len(row) != len(header):
                what = f"{len(row)} cells where the header has {len(header)}"
                fix = "put double quotes around a cell with a separator or line break in it"
                raise DataError(what, found=_short(row), fix=fix)
            cells = {field: row[i] for field, i in columns.items()}
            answers = _literal(cells["answer"])
            if not isinstance(answers, dict):
                start = _literal(cells.get("start", "").strip())
                answers = {"text": answers, "answer_start": start if start != "" else None}
            name = cells.get("id") or str(number)
            yield _Question(name, cells["question"], cells["context"], answers, line)


def _rows(text: str, path: str) -> list[tuple[int, list[str]]]:
    """The rows of a table that hold something, and the line each begins at."""
    delimiter = max(",\t;", key=_lines(text.lstrip())[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, line = [], 1
    limit = csv.field_size_limit(len(text) + 1)  # a long context is no broken quote
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        what = "the table cannot be read from here on"
        fix = 'close every double quote, and write "" for one inside a quoted cell'
        raise DataError(what, path=path, line=line, found=str(error), fix=fix) from None
    finally:
        csv.field_size_limit(limit)
    return rows


def _known_columns(header: list[str], place: dict[str, Any]) -> dict[str, int]:
    """Where the columns we need are, by any of their names."""
    names = [re.sub(r"[\W_]+", "", name.lower()) for name in header]
    columns = {
        field: names.index(next(alias for alias in aliases if alias in names))
        for field, aliases in _ALIASES.items()
        if not set(aliases).isdisjoint(names)
    }
    missing = [field for field in ("context", "question", "answer") if field not in columns]
    if missing:
        what = f"there is no column for the {' and the '.join(missing)}"
        found = f"the columns {', '.join(map(repr, header))}"
        fix = "name the columns context, question, answer and (with offsets) answer_start"
        raise DataError(what, found=found, fix=fix, **place)
    return columns


def _literal(cell: str) -> Any:
    """What a cell holds as JSON or as Python prints lists and dicts; otherwise its text."""
    if cell.strip().startswith(("[", "{")):
        plain = re.sub(r"array\((\[.*?\])(, dtype=\w+)?\)", r"\1", cell, flags=re.DOTALL)
        for parse in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError):
                return parse(plain.strip())
    return cell


def write_squad(examples: Iterable[QAExample], path: FilePath) -> None:
    """Write questions as SQuAD v1.1 JSON; those in a row that share a context share a paragraph.

    `read_squad` gives equal examples back, but for `candidates`, which SQuAD does not have.

    Raises:
        DataError: the file cannot be written.
    """
    paragraphs = [
        {"context": context, "qas": [_squad_question(example) for example in group]}
        for context, group in groupby(examples, key=lambda example: example.context)
    ]
    squad = {"version": "1.1", "data": [{"title": Path(path).stem, "paragraphs": paragraphs}]}
    write_atomically(path, json.dumps(squad, indent=2, ensure_ascii=False) + "\n")


def _squad_question(example: QAExample) -> dict[str, Any]:
    answers = [{"text": answer.text, "answer_start": answer.start} for answer in example.answers]
    return {"id": example.id, "question": example.question, "answers": answers}


# --- JSON records -------------------------------------------------------------------------------

_RECORD_FORM = (
    'a record looks like {"sentence": "John lives here.", "label": "home", "ner_tags": ["B-PER", '
    '"O", "O", "O"]}; every field but the sentence may be missing'
)
_PAIR_FORM = (
    'a pair looks like {"sentence1": "...", "sentence2": "...", "score": 0.8}; the score may be '
    "missing where both mean the same"
)
_RECORD_FIELDS = {  # the first name is ours; the others are common ones for the same thing
    "sentence": ("sentence", "text"),
    "tokens": ("tokens", "words"),
    "label": ("label", "class", "category"),
    "ner_tags": ("ner_tags", "tags"),
}
_PAIR_FIELDS = {
    "sentence1": ("sentence1", "anchor"),
    "sentence2": ("sentence2", "positive"),
    "score": ("score", "similarity"),
}


class _Record(NamedTuple):
    line: int
    sentence: str
    tokens: list[str]
    label: str | int | None
    tags: list[str] | None
    counted: str  # what the tags count, in words

    def __str__(self) -> str:
        return f"tokens {_short(self.tokens)}, tags {_short(self.tags)}"


def read_jsonl(path: FilePath, on_error: str = "stop") -> list[TextExample]:
    """Read texts with labels and tags: a JSON array of records, or one record a line.

    `{"sentence": ..., "label": ..., "ner_tags": [...]}`; every field but the sentence may be
    missing in some records. If a record has `"tokens"`, the tags count these. Else they count words
    and punctuation marks, or, if only that fits, what stands between blanks; a `DataWarning` says
    in how many records each. Tags may keep to any scheme that `read_conll` knows and become IOB2.
    Labels are names or whole numbers, the same in all records.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the records that have one.

    Raises:
        DataError: the file cannot be read, is empty or not JSON; a record without a sentence; tags
            that count something else; labels that are numbers in some records and names in others.
        ConfigError: `on_error` is something else.
    """
    report = _Report(path, on_error)
    parsed = []
    unused: Counter[str] = Counter()
    for line, record in _records(read_text(path), report):
        with report.record(line):
            fields = _named(record, _RECORD_FIELDS, _RECORD_FORM, unused)
            parsed.append(_text_record(line, fields))
    scheme = _scheme(record.tags for record in parsed if record.tags)
    kind = _label_kind(parsed)
    examples = []
    for record in parsed:
        with report.record(record.line):
            if record.label is not None and type(record.label) is not kind:
                raise _mixed_label(record, kind, parsed)
            tags = record.tags
            if tags is not None:
                _check_record_scheme(record, scheme)
                tags = tuple(_iob2(tags))
            label = record.label
            if label is not None and kind is not str:
                label = json.dumps(label)
            examples.append(TextExample(record.sentence, tuple(record.tokens), label, tags))
    _note_unused(unused, report)
    counted = Counter(r.counted for r in parsed if r.tags is not None and r.counted != "tokens")
    report.notes += [f"ner_tags count {what} in {n:,} records" for what, n in counted.items()]
    return report.finish(examples, "record with a sentence")


def read_pairs(path: FilePath, on_error: str = "stop") -> list[PairExample]:
    """Read pairs of sentences: a JSON array of records, or one record a line.

    `{"sentence1": ..., "sentence2": ..., "score": ...}`; a pair without a score means the same.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the pairs that have one.

    Raises:
        DataError: the file cannot be read, is empty or not JSON; a pair with an empty or missing
            sentence; a score that is not a number from -1 to 1.
        ConfigError: `on_error` is something else.
    """
    report = _Report(path, on_error)
    examples = []
    unused: Counter[str] = Counter()
    for line, record in _records(read_text(path), report):
        with report.record(line):
            fields = _named(record, _PAIR_FIELDS, _PAIR_FORM, unused)
            first, second = (_text_of(fields, f"sentence{n}", _PAIR_FORM) for n in (1, 2))
            examples.append(PairExample(first, second, fields.get("score")))
    _note_unused(unused, report)
    return report.finish(examples, "pair of sentences")


def _records(text: str, report: _Report) -> Iterator[tuple[int, Any]]:
    """Every record of a JSON array, or of a file with one record a line, with its line."""
    if text.lstrip().startswith("["):
        yield from _array_records(text, report)
        return
    for line, content in enumerate(_lines(text), start=1):
        with report.record(line):
            if content.strip():
                try:
                    record = json.loads(content)
                except (ValueError, RecursionError) as error:
                    fix = "write each record on one line, or all records in one list: [..., ...]"
                    found = f"{_reason(error)} in {_short(content, 80)}"
                    raise DataError("the line is not JSON", found=found, fix=fix) from None
                yield line, record


_BLANKS = re.compile(r"\s*")


def _array_records(text: str, report: _Report) -> Iterator[tuple[int, Any]]:
    """The elements of a JSON array one by one, so that each is known by its line."""
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    is_open = text[_next_sign(text, position) :][:1] != "]"
    if not is_open:
        position = _next_sign(text, position) + 1
    line, counted = 1, 0
    while is_open:
        position = _next_sign(text, position)
        line, counted = line + text.count("\n", counted, position), position
        try:
            record, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            position = getattr(error, "pos", position)
            return _report_broken(report, text, position, _reason(error))
        yield line, record
        position = _next_sign(text, position) + 1
        is_open = text[position - 1 : position] == ","
        if not is_open and text[position - 1 : position] != "]":
            return _report_broken(report, text, position - 1, "a comma or ] is missing")
    if text[position:].strip():
        _report_broken(report, text, position, "something stands behind the list")


def _next_sign(text: str, position: int) -> int:
    """Where the next character that is no blank stands."""
    return _BLANKS.match(text, position).end()


def _report_broken(report: _Report, text: str, position: int, reason: str) -> None:
    line = 1 + text.count("\n", 0, position)
    report.notes.append(f"the JSON is broken in line {line}; what comes after it was not read")
    with report.record(line):
        found = f"{reason}, at {_short(text[position : position + 40])}"
        fix = "mend the JSON there; what comes after it was not read"
        raise DataError("this is not JSON", found=found, fix=fix)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "lists or objects nested too deeply"
    return getattr(error, "msg", str(error)).removesuffix(" at")


def _named(
    record: Any, names: dict[str, tuple[str, ...]], form: str, unused: Counter[str]
) -> dict[str, Any]:
    """The fields of a record by our names; others are counted in `unused`, null is missing."""
    if not isinstance(record, dict):
        raise DataError("this is not a record", found=_outline(record), fix=form)
    fields = {}
    others = set(record)
    for name, aliases in names.items():
        found = [alias for alias in aliases if record.get(alias) is not None]
        if found:
            fields[name] = record[found[0]]
        others -= {*aliases} - {*found[1:]}
    unused.update(sorted(others))
    return fields


def _note_unused(unused: Counter[str], report: _Report) -> None:
    if unused:
        names = ", ".join(f"{_short(key, 40)} ({n:,})" for key, n in unused.most_common(8))
        report.notes.append(f"fields that are not read, and in how many records: {names}")


def _text_of(fields: dict[str, Any], name: str, form: str) -> str:
    value = fields.get(name)
    if isinstance(value, str) and value.strip():
        return value
    found = "null, or no such field" if value is None else f'"{name}" is {_outline(value)}'
    raise DataError(f'there is no text "{name}"', found=found, fix=form)


def _text_record(line: int, fields: dict[str, Any]) -> _Record:
    """What a record says, its tags brought together with what they count."""
    sentence = _text_of(fields, "sentence", _RECORD_FORM)
    label, tags, given = (fields.get(name) for name in ("label", "ner_tags", "tokens"))
    if isinstance(label, float) and label.is_integer():
        label = int(label)  # a table with gaps turns whole numbers into 1.0
    if label is not None and not (isinstance(label, str | int) and str(label).strip()):
        fix = "write a name in quotes or a whole number, or leave the label out"
        raise DataError("the label is not a class", found=_short(label), fix=fix)
    for name, value in (("ner_tags", tags), ("tokens", given)):
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            fix = 'write a list of texts, such as ["B-PER", "O"]'
            raise DataError(f"{name} is not a list of texts", found=_short(value), fix=fix)
    check_unicode(*(tags or ()))
    for tag in tags or ():
        if not re.fullmatch("O|[BIESLU]-.+", tag):
            fix = "use O, B-TYPE and I-TYPE (IOB1, IOB2, BIOES, BILOU are known)"
            found = f"{tag!r} in the record with the sentence {_short(sentence, 80)}"
            raise DataError("the tag is of no known scheme", found=found, fix=fix)
    tokens, counted = _tokens(sentence, given, tags)
    return _Record(line, sentence, tokens, label, tags, counted)


def _tokens(
    sentence: str, given: list[str] | None, tags: list[str] | None
) -> tuple[list[str], str]:
    """The tokens that the tags count, and in words what they are."""
    words = [sentence[start:end] for start, end in split_words(sentence)]
    ways = {"words and punctuation marks": words, "words between blanks": sentence.split()}
    if given:
        ways = {"tokens": given}
    for counted, tokens in ways.items():
        if tags is None or len(tokens) == len(tags):
            return tokens, counted
    counts = " or ".join(f"{len(tokens)} {counted}" for counted, tokens in ways.items())
    what = f"{len(tags)} tags, but the sentence has {counts}"
    found = f"tokens {_short(next(iter(ways.values())))}, tags {_short(tags)}"
    fix = 'give every token one tag; "tokens": [...] in the record says what the tokens are'
    raise DataError(what, found=found, fix=fix)


def _label_kind(records: list[_Record]) -> type:
    """What most labels are: names or numbers."""
    kinds = Counter(type(r.label) for r in records if r.label is not None)
    return kinds.most_common(1)[0][0] if kinds else str


def _mixed_label(record: _Record, kind: type, records: list[_Record]) -> DataError:
    names = {str: "a text", int: "a number", bool: "true or false"}
    other = next(r for r in records if type(r.label) is kind)
    return DataError(
        f"the label is {names[type(record.label)]} here, but {names[kind]} in most records",
        found=f"{_short(record.label)} here, {_short(other.label)} in line {other.line}",
        fix="write all labels in the same way",
    )


def _check_record_scheme(record: _Record, scheme: str) -> None:
    for before, tag in _pairs(record.tags):
        if _BREAKS[scheme](before, tag):
            what = f"{tag} after {before} breaks {scheme}, the tag scheme of this file"
            raise DataError(what, found=str(record), fix=_RULES[scheme])


Example = NERExample | QAExample | TextExample | PairExample


def write_jsonl(examples: Iterable[Example], path: FilePath) -> None:
    """Write one JSON object a line, with the fields that `read_jsonl` and `read_pairs` read; of a
    QAExample `id`, `question`, `context` and `answers`.

    Raises:
        DataError: the file cannot be written.
    """
    records = (json.dumps(_json_record(example), ensure_ascii=False) for example in examples)
    write_atomically(path, "".join(f"{record}\n" for record in records))


def _json_record(example: Example) -> dict[str, Any]:
    match example:
        case NERExample():
            record = {"sentence": example.text, "tokens": example.tokens, "ner_tags": example.tags}
        case TextExample():
            record = {"sentence": example.text, "tokens": example.tokens or None}
            record |= {"label": example.label, "ner_tags": example.tags}
        case PairExample():
            record = {"sentence1": example.first, "sentence2": example.second}
            record |= {"score": example.score}
        case QAExample():
            record = _squad_question(example)
            record |= {"context": example.context, "answers": record.pop("answers")}
    return {key: value for key, value in record.items() if value is not None}


def write_examples(examples: Sequence[Example], path: FilePath) -> None:
    """Write examples in the format that the file's ending names.

    Raises:
        ConfigError: an ending that no format has, or one that cannot hold these examples.
        DataError: the file cannot be written.
    """
    writers = {
        ".conll": (NERExample, write_conll),
        ".json": (QAExample, write_squad),
        ".jsonl": (Example, write_jsonl),
    }
    suffix = Path(path).suffix.lower()
    holds, write = writers.get(suffix, ((), None))
    if write is None or not all(isinstance(example, holds) for example in examples):
        fitting = [
            s for s, (kinds, _) in writers.items() if all(isinstance(e, kinds) for e in examples)
        ]
        raise ConfigError(
            "these examples cannot be written in the format that the file's ending names",
            path=str(path),
            found=f"the ending {suffix!r}",
            fix=f"use the ending {' or '.join(fitting)}",
        )
    write(examples, path)
