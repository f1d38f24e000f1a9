"""Questions in SQuAD form, records or a table go in; examples with located answers come out."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError
from ..examples import Answer, QAExample
from .cells import quoted_rows
from .json_source import Row, json_rows, looks_like_json, outline
from .source import FilePath, Report, lines_of, read_text, short

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
    "start": (
        *("answerstart", "answersanswerstart", "answeroffset", "start", "offset", "startchar"),
        *("answerstarts", "startposition", "begin"),
    ),
    "id": ("id", "qid", "questionid"),
    "impossible": ("isimpossible", "impossible", "unanswerable"),
    "answerable": ("answerable", "isanswerable", "hasanswer"),
}
_ANSWER_TEXTS = ("text", "answer_text", "answer", "value")


class _Question(NamedTuple):
    """A question as in the file; its answers in any of the forms that `_answers` reads."""

    id: str
    question: str
    context: str
    answers: Any
    line: int | None
    where: str = ""


def read_squad(path: FilePath, on_error: str = "stop") -> list[QAExample]:
    """Read questions with their contexts and answers: JSON, or a table (CSV, TSV).

    JSON is SQuAD v1.1 (Rajpurkar et al. 2016) or v2.0 (Rajpurkar et al. 2018), or holds a question,
    or a paragraph with its questions, in each record. A table has columns for context, question and
    answer under any usual name, and may have one for the offset of the answer in characters of the
    context, and one for an id. Without an offset the first occurrence of the answer is taken; a
    `DataWarning` counts the questions where there are several. Questions without an answer are left
    out and counted.

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
        examples = questions_from(json_rows(text, report), report, _lines_of_ids(text))
    else:
        examples = _examples(_from_table(text, report), report)
    return report.finish(examples, "question with an answer")


def questions_from(
    rows: Iterable[Row], report: Report, lines: Mapping[str, int] | None = None
) -> list[QAExample]:
    """The questions of JSON records.

    Args:
        rows: articles or paragraphs of SQuAD, or questions with a context each.
        lines: of questions, by id, where a record of several lines holds several.
    """
    return _examples(_from_records(rows, report, lines or {}), report)


def _examples(questions: Iterable[_Question], report: Report) -> list[QAExample]:
    # Left out, guessed, repeated: each is counted, so that a note can say how many.
    examples, unanswerable, ambiguous, seen, repeated = [], [], [], set(), []
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
            if question.id in seen:
                repeated.append(question)
            seen.add(question.id)
    if unanswerable:
        report.notes.append(f"unanswerable questions left out: {_counted(unanswerable)}")
    if ambiguous:
        report.notes.append(
            f"answers without an offset that occur more than once in their context, the first of "
            f"which was taken: {_counted(ambiguous)}. Give answer_start to be exact"
        )
    if repeated:
        report.notes.append(
            f"ids that an earlier question already has: {_counted(repeated)}; the first of them is "
            f"{repeated[0].id!r}. Prediction files add a number to a repeated id"
        )
    return examples


def _counted(questions: list[_Question], most: int = 5) -> str:
    # Lines only if each question has its own: in SQuAD's single line they would say nothing.
    by_line = len({q.line for q in questions} - {None}) == len(questions)
    places = [f"line {q.line}" if by_line else f"question {q.id!r}" for q in questions[:most]]
    return f"{len(questions)} ({', '.join(places)}{', ...' if len(questions) > most else ''})"


def _answers(value: Any) -> list[tuple[str, int | None]]:
    """Text and offset of each answer: from SQuAD's list, from the columns that the `datasets`
    library makes of it ({"text": [...], "answer_start": [...]}), or from bare texts. None, "" and
    -1 mean that there is no answer.
    """
    match value:
        case None | "" | -1 | {"text": None | "" | []}:
            return []
        case str(text):
            return [(text, None)]
        case bool():
            fix = "an answer is copied from its context; yes or no is a class of the question"
            raise DataError("the answer is yes or no", found=short(value), fix=fix)
        case [*items]:
            return [answer for item in items for answer in _answers(item)]
        case dict():
            text = next((value[key] for key in _ANSWER_TEXTS if key in value), None)
            start = next((v for key, v in value.items() if _plain(key) in _ALIASES["start"]), None)
            if isinstance(text, str):
                return [(text, _offset(start))]
            if isinstance(text, list) and start is None:
                return _answers(text)
            if isinstance(text, list) and isinstance(start, list) and len(text) == len(start):
                pairs = zip(text, start, strict=True)
                return _answers([{"text": text, "answer_start": start} for text, start in pairs])
    fix = 'write it as {"text": "...", "answer_start": 0}'
    raise DataError("an answer is not a text with its offset", found=short(value), fix=fix)


def _offset(value: Any) -> int | None:
    if value is None or value == "":
        return None
    # Tables and JSON write offsets in all sorts of ways; int(inf) raises OverflowError.
    with suppress(TypeError, ValueError, OverflowError):  # 3, 3.0 and "3" alike
        if int(float(value)) == float(value):
            return int(float(value))
    fix = "count the characters of the context before the answer"
    raise DataError("an answer offset is not a whole number", found=short(value), fix=fix)


def _located(text: str, start: int | None, question: _Question) -> Answer:
    """The answer at its offset or, without one, where its text first occurs."""
    if start is not None:
        return Answer(text, start)  # QAExample makes sure that the text is there
    # Only without an offset: an offset counts the blanks too.
    text = text.strip()
    if text not in question.context:
        what = f"the answer of question {question.id!r} is not in its context"
        found = f"answer {short(text)}, context {short(question.context)}"
        raise DataError(what, found=found, fix="copy the answer letter by letter from the context")
    return Answer(text, question.context.index(text))


def _is_ambiguous(text: str, start: int | None, question: _Question) -> bool:
    return start is None and question.context.count(text.strip()) > 1


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
                    question = question._replace(line=lines.get(question.id))
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
    is_impossible = _is_true(fields.get("impossible")) or _is_false(fields.get("answerable"))
    if not is_impossible and "answer" not in fields:
        raise _lacking('list "answers"', qa, "answers")
    answers = None if is_impossible else fields["answer"]
    # Offsets in a separate field, next to the texts.
    if isinstance(answers, str | list) and fields.get("start") not in (None, -1, ""):
        answers = {"text": answers, "answer_start": fields["start"]}
    name = fields.get("id")
    return _Question(number if name is None else str(name), question, context, answers, line, where)


def _by_our_names(record: Any) -> dict[str, Any]:
    """The fields of a question by our names, whatever the file calls them."""
    if not isinstance(record, dict):
        raise _lacking('text "question"', record, "question")
    # Backwards, so that of two names that differ only in case the first wins.
    plain = {_plain(str(key)): value for key, value in reversed(record.items())}
    found = {}
    for field, aliases in _ALIASES.items():
        names = [alias for alias in aliases if alias in plain]
        # A record may carry empty fields under other names.
        filled = [alias for alias in names if plain[alias] is not None]
        if names:
            found[field] = plain[(filled or names)[0]]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _is_true(value: Any) -> bool:
    # A table writes booleans as texts, and a table with gaps writes them as 1.0.
    return str(value).strip().lower() in ("true", "1", "yes", "1.0")


def _is_false(value: Any) -> bool:
    return str(value).strip().lower() in ("false", "0", "no", "0.0")


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


def _from_table(text: str, report: Report) -> Iterator[_Question]:
    # By the header, which holds no text that could contain commas.
    delimiter = max(",\t;", key=lines_of(text.lstrip())[0].count)
    rows = [(line, cells) for line, cells in quoted_rows(text, delimiter, report.path) if cells]
    (header_line, header), *rows = rows or [(1, [])]
    columns = _known_columns(header, {"path": report.path, "line": header_line})
    for number, (line, row) in enumerate(rows, start=1):
        with report.record(line):
            if len(row) != len(header):
                what = f"{len(row)} cells where the header has {len(header)}"
                fix = "put double quotes around a cell with a separator or line break in it"
                raise DataError(what, found=short(row), fix=fix)
            cells = {field: row[i] for field, i in columns.items()}
            answers = _literal(cells["answer"])
            if not isinstance(answers, dict):
                start = _literal(cells.get("start", "").strip())
                answers = {"text": answers, "answer_start": start if start != "" else None}
            if _is_true(cells.get("impossible")) or _is_false(cells.get("answerable")):
                answers = None
            name = cells.get("id") or str(number)
            yield _Question(name, cells["question"], cells["context"], answers, line)


def _known_columns(header: list[str], place: dict[str, Any]) -> dict[str, int]:
    """Where the columns that we need are, under any of their names."""
    names = [_plain(name) for name in header]
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
