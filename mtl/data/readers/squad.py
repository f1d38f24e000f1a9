"""Questions in SQuAD form, records or a table go in; examples with located answers come out."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError
from ..examples import QAExample
from .answers import (
    START_NAMES,
    answers_of,
    is_ambiguous,
    is_empty,
    is_empty_list,
    located,
    plain_name,
)
from .cells import Lines, check_header, check_width, quoted_rows
from .json_source import Row, json_rows, looks_like_json, one_record_a_line, outline
from .source import FilePath, Held, Report, read_text, whole_lines_of

_FORM = (
    'a question looks like {"id": "1", "question": "...", "context": "...", "answers": [{"text": '
    '"...", "answer_start": 0}]}, SQuAD like {"data": [{"title": "...", "paragraphs": [{"context": '
    '"...", "qas": [{"id": "...", "question": "...", "answers": [...]}]}]}]}'
)
_ALIASES = {  # without case, blanks and punctuation; if several are there, the first is taken
    "context": (
        "context",
        "passage",
        "paragraph",
        "document",
        "article",
        "ctx",
        "text",
        "storytext",
    ),
    "question": ("question", "query", "questiontext", "q"),
    "answer": ("answers", "answer", "answertext", "answerstext", "goldanswer"),
    "start": START_NAMES,
    "id": ("id", "qid", "questionid"),
    "impossible": ("isimpossible", "impossible", "unanswerable"),
    "answerable": ("answerable", "isanswerable", "hasanswer"),
    "plausible": ("plausibleanswers", "plausibleanswer"),
}
_TRUTHS: dict[str, bool | None] = {"": None}
_TRUTHS |= dict.fromkeys(("true", "1", "yes", "1.0", "t", "y"), True)
_TRUTHS |= dict.fromkeys(("false", "0", "no", "0.0", "f", "n"), False)
_NOTES = {  # how many questions, and the first of them
    "empty": "questions without an answer left out: {}. If their contexts do not answer them, say "
    "so: is_impossible = true",
    "unused": "answers of questions that the file says have none (plausible_answers), not used: {}",
    "ambiguous": "answers without an offset that occur more than once in their context, the first "
    "of which was taken: {}. Give answer_start to be exact",
    "repeated": "ids that an earlier question already has: {0}; the first of them is {1.id!r}. "
    "Prediction files add a number to a repeated id",
}


class _Question(NamedTuple):
    """A question as in the file; its answers in any of the forms that `answers_of` reads.

    `impossible`: whether the file says that it has no answer; None if it does not say.
    `plausible`: in the same forms, what SQuAD v2.0 names as tempting, but wrong.
    """

    id: str
    question: str
    context: str
    answers: Any
    impossible: bool | None
    plausible: Any
    line: int | None
    where: str = ""

    @property
    def is_unanswerable(self) -> bool:
        """Whether it clearly has no answer; an empty field alone may just not be filled in."""
        return is_empty_list(self.answers) if self.impossible is None else self.impossible

    @property
    def has_unused_answers(self) -> bool:
        """Whether the file gives answers all the same."""
        return not (is_empty(self.answers) and is_empty(self.plausible))


def read_squad(path: FilePath, on_error: str = "stop") -> list[QAExample]:
    """Read questions with their contexts and answers: JSON, or a table (CSV, TSV).

    JSON is SQuAD v1.1 (Rajpurkar et al. 2016) or v2.0 (Rajpurkar et al. 2018), or holds a question,
    or a paragraph with its questions, in each record. A table has columns for context, question and
    answer under any usual name, and may have one for the offset of the answer in characters of the
    context, and one for an id. Without an offset the first occurrence of the answer is taken; a
    `DataWarning` counts the questions where there are several.

    A question has no answer if the file says so: with `is_impossible`, as in SQuAD v2.0, or with
    the empty lists of the `datasets` library, `{"text": [], "answer_start": []}`. Any other
    question without an answer is left out and counted.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the questions that have one.

    Raises:
        DataError: the file cannot be read, is empty, holds no questions or lacks a column; an
            answer that is not in its context, or not at its offset.
        ConfigError: `on_error` is something else.
    """
    report = Report(path, on_error)
    text = read_text(path)
    suffix = Path(path).suffix.lower()
    if looks_like_json(text) or suffix in (".json", ".jsonl", ".ndjson"):
        # A record on one line has its line; in one of many lines, a question is found by its id.
        lines = {} if one_record_a_line(text) else _lines_of_ids(text)
        questions = _from_records(json_rows(text, report), report, lines)
    else:
        questions = _from_table(partial(whole_lines_of, text), report)
    return report.finish(list(_examples(questions, report)), "question with an answer")


def questions_of(
    rows: Callable[[Report], Iterator[Row]], report: Report, held: Held
) -> Iterator[QAExample]:
    """The questions of JSON records, one after the other; what they mean shows in one pass.

    Args:
        rows: gives articles or paragraphs of SQuAD, or questions with a context each.
    """
    return _examples(_from_records(rows(report), report, {}), report)


def questions_of_table(
    lines: Callable[[Report], Iterator[str]], report: Report, held: Held
) -> Iterator[QAExample]:
    """The questions of a table, one after the other.

    Args:
        lines: gives its lines, with their ends.
    """
    return _examples(_from_table(partial(lines, report), report), report)


def _examples(questions: Iterable[_Question], report: Report) -> Iterator[QAExample]:
    noted: dict[str, list[_Question]] = {name: [] for name in _NOTES}
    seen: set[str] = set()
    for question in questions:
        with report.record(question.line, question.where):
            id, context = question.id, question.context
            answers = [] if question.is_unanswerable else answers_of(question.answers)
            if not answers and not question.is_unanswerable:
                noted["empty"].append(_without_texts(question))
                continue
            places = tuple(located(*answer, context, id) for answer in answers)
            yield QAExample(id, question.question, context, places)
            if question.is_unanswerable and question.has_unused_answers:
                noted["unused"].append(_without_texts(question))
            if any(is_ambiguous(*answer, context) for answer in answers):
                noted["ambiguous"].append(_without_texts(question))
            if id in seen:
                noted["repeated"].append(_without_texts(question))
            seen.add(id)
    report.notes += [
        _NOTES[name].format(_counted(found), found[0]) for name, found in noted.items() if found
    ]


def _without_texts(question: _Question) -> _Question:
    """What a note says of a question: of a large file, there may be many."""
    return question._replace(question="", context="", answers=None, plausible=None)


def _counted(questions: list[_Question], most: int = 5) -> str:
    # Lines only if each question has its own: in SQuAD's single line they would say nothing.
    by_line = len({q.line for q in questions} - {None}) == len(questions)
    places = [f"line {q.line}" if by_line else f"question {q.id!r}" for q in questions[:most]]
    return f"{len(questions)} ({', '.join(places)}{', ...' if len(questions) > most else ''})"


def _from_records(
    rows: Iterable[Row], report: Report, lines: Mapping[str, int]
) -> Iterator[_Question]:
    number = 0
    for row in rows:
        for context, qa, where in _questions_in(row.value, None, row, report):
            number += 1
            with report.record(row.line, where):
                question = _question(qa, context, str(number), row.line, where)
                if qa is not row.value and "id" in qa:  # inside a record of several lines
                    question = question._replace(line=lines.get(question.id, row.line))
                yield question


def _questions_in(
    value: Any, context: str | None, row: Row, report: Report, where: str | None = None
) -> Iterator[tuple[str | None, Any, str]]:
    """Every question of a record, the context around it, and where in the file it is."""
    where = row.where if where is None else where
    if _has(value, "paragraphs") and "title" in value:
        where = f" (article {value['title']!r})"
    with report.record(row.line, where):
        if isinstance(value, dict) and value.keys() == {"header"}:  # of a file of MRQA
            return
        inside = next((key for key in ("data", "paragraphs", "qas") if _has(value, key)), None)
        if inside is None:
            yield context, value, where
            return
        # The context is written once, around the questions about it.
        if inside == "qas":
            context = _text(value, "context", value)
        for item in _list(value, inside):
            yield from _questions_in(item, context, row, report, where)


def _has(value: Any, key: str) -> bool:
    """Whether a record contains others; an article may lack its paragraphs."""
    if not isinstance(value, dict):
        return False
    return key in value or (key == "paragraphs" and value.keys() == {"title"})


def _list(record: dict[str, Any], key: str) -> list[Any]:
    value = record.get(key)
    if not isinstance(value, list):
        raise _lacking(f'list "{key}"', record, key)
    return value


def _question(qa: Any, context: str | None, number: str, line: int | None, where: str) -> _Question:
    fields = _by_our_names(qa)
    question = _text(fields, "question", qa)
    context = context if context is not None else _text(fields, "context", qa)
    impossible = _says_impossible(fields)
    if not impossible and "answer" not in fields:
        raise _lacking('list "answers"', qa, "answers")
    answers = fields.get("answer")
    # Offsets in a separate field, next to the texts.
    if isinstance(answers, str | list) and fields.get("start") not in (None, -1, ""):
        answers = {"text": answers, "answer_start": fields["start"]}
    name, plausible = fields.get("id"), fields.get("plausible")
    name = number if name is None else str(name)
    return _Question(name, question, context, answers, impossible, plausible, line, where)


def _says_impossible(fields: Mapping[str, Any]) -> bool | None:
    """Whether a question is said to have no answer; None if nothing is said."""
    impossible = _truth(fields, "impossible")
    answerable = _truth(fields, "answerable")
    if impossible or answerable is False:
        return True
    return False if impossible is False or answerable else None


def _by_our_names(record: Any) -> dict[str, Any]:
    """The fields of a question by our names, whatever the file calls them."""
    if not isinstance(record, dict):
        raise _lacking('text "question"', record, "question")
    # Backwards, so that of two names that differ only in case the first wins.
    plain = {plain_name(str(key)): value for key, value in reversed(record.items())}
    found = {}
    for field, aliases in _ALIASES.items():
        names = [alias for alias in aliases if alias in plain]
        # A record may carry empty fields under other names.
        filled = [alias for alias in names if plain[alias] is not None]
        if names:
            found[field] = plain[(filled or names)[0]]
    return found


def _truth(fields: Mapping[str, Any], name: str) -> bool | None:
    """True or false as a field says it; None if it is empty or missing.

    Raises:
        DataError: it says something else.
    """
    value = fields.get(name)
    # A table writes booleans as texts, and a table with gaps writes them as 1.0.
    said = "" if value is None else str(value).strip().lower()
    if said not in _TRUTHS:
        what = f"is_{name} is neither true nor false"
        raise DataError(what, found=repr(value), fix="write true or false, or leave it empty")
    return _TRUTHS[said]


def _text(fields: dict[str, Any], key: str, record: Any) -> str:
    """`fields[key]`, if it is there and a text."""
    value = fields.get(key)
    if not isinstance(value, str):
        raise _lacking(f'text "{key}"', record, key, value)
    return value


def _lacking(what: str, record: Any, key: str, value: Any = None) -> DataError:
    """The error for a part that is missing or of the wrong kind; it shows what is there."""
    if value is None and isinstance(record, dict):
        value = record.get(key)
    found = outline(record) if value is None else f'"{key}" is {outline(value)}'
    return DataError(f"this is not SQuAD: no {what}", found=found, fix=_FORM)


def _lines_of_ids(text: str) -> dict[str, int]:
    """The line of every "id" in a JSON text, which json.loads does not keep.

    A whole SQuAD file is often one record of thousands of lines, and its first line would help
    nobody.
    """
    line, position = 1, 0
    lines: dict[str, int] = {}
    for match in re.finditer(r'"id"\s*:\s*(?:"([^"\\]*)"|(\d+))', text):
        line += text.count("\n", position, match.start())
        position = match.start()
        # Of a repeated id the first line, where one has to look first to mend the file.
        lines.setdefault(match[1] or match[2], line)
    return lines


def _from_table(lines: Lines, report: Report) -> Iterator[_Question]:
    # By the header, which holds no text that could contain commas.
    first = next(line for line in lines() if line.strip())
    delimiter = max(",\t;", key=first.lstrip().count)
    rows = (row for row in quoted_rows(lines, delimiter, report.path) if row[1])
    header_line, header = next(rows, (1, []))
    check_header([name for name in header if name.strip()], report.path, header_line)
    columns = _known_columns(header, {"path": report.path, "line": header_line})
    for number, (line, row) in enumerate(rows, start=1):
        with report.record(line):
            check_width(row, len(header))
            cells = {field: row[i] for field, i in columns.items()}
            answers = _literal(cells["answer"])
            if not isinstance(answers, dict):
                start = _literal(cells.get("start", "").strip())
                answers = {"text": answers, "answer_start": start if start != "" else None}
            name, impossible = cells.get("id") or str(number), _says_impossible(cells)
            question, context = cells["question"], cells["context"]
            plausible = _literal(cells.get("plausible", ""))
            yield _Question(name, question, context, answers, impossible, plausible, line)


def _known_columns(header: list[str], place: dict[str, Any]) -> dict[str, int]:
    """Where the columns that we need are, under any of their names."""
    names = [plain_name(name) for name in header]
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
    """What a cell holds, as JSON or as Python prints lists and dicts; otherwise its text."""
    if cell.strip().startswith(("[", "{")):
        # pandas prints NumPy arrays inside a cell as array([...]).
        plain = re.sub(r"array\((\[.*?\])(, dtype=\w+)?\)", r"\1", cell, flags=re.DOTALL)
        for parse in (json.loads, ast.literal_eval):
            # The last two: lists in lists in lists, deeper than Python goes.
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                return parse(plain.strip())
    return cell
