"""Questions with contexts and answers: SQuAD JSON, records, or tables (CSV, TSV)."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError
from ...files import write_atomically
from ..examples import Answer, QAExample
from .source import FilePath, Report, json_records, lines_of, outline, read_text, reason_of, short

_SQUAD_FORM = (
    'SQuAD looks like {"data": [{"title": "...", "paragraphs": [{"context": "...", "qas": [{"id": '
    '"...", "question": "...", "answers": [{"text": "...", "answer_start": 0}]}]}]}]}'
)


_QUESTION_FORM = (
    'a question looks like {"id": "1", "question": "...", "context": "...", "answers": [{"text": '
    '"...", "answer_start": 0}]}'
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
    report = Report(path, on_error)
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
    raise DataError("an answer is not a text with its offset", found=short(value), fix=fix)


def _offset(value: Any) -> int | None:
    if value is None or value == "":
        return None
    with suppress(TypeError, ValueError, OverflowError):
        if int(float(value)) == float(value):
            return int(float(value))
    fix = "count the characters of the context before the answer"
    raise DataError("an answer offset is not a whole number", found=short(value), fix=fix)


def _located(text: str, start: int | None, question: _Question) -> Answer:
    """The answer at its offset or, without one, where its text first occurs."""
    if start is not None:
        return Answer(text, start)
    text = text.strip()
    if text not in question.context:
        what = f"the answer of question {question.id!r} is not in its context"
        found = f"answer {short(text)}, context {short(question.context)}"
        raise DataError(what, found=found, fix="copy the answer letter by letter from the context")
    return Answer(text, question.context.index(text))


def _is_ambiguous(text: str, start: int | None, question: _Question) -> bool:
    return start is None and question.context.count(text.strip()) > 1


def _from_json(text: str, report: Report) -> Iterator[_Question]:
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
        found = reason_of(error)
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


def _from_lines(text: str, report: Report) -> Iterator[_Question]:
    for number, (line, qa) in enumerate(json_records(text, report), start=1):
        with report.record(line):
            name = str(qa.get("id", number)) if isinstance(qa, dict) else str(number)
            question, context = (
                _field(qa, key, str, _QUESTION_FORM) for key in ("question", "context")
            )
            answers = [] if qa.get("is_impossible") else qa.get("answers")
            if not isinstance(answers, dict):  # as the `datasets` library writes them
                answers = _field({"answers": answers}, "answers", list, _QUESTION_FORM)
            yield _Question(name, question, context, answers, line)


def _paragraphs(squad: Any, report: Report) -> Iterator[tuple[Any, str]]:
    """Every paragraph, and in words the article it stands in."""
    with report.record(None):
        for number, article in enumerate(_field(squad, "data", list), start=1):
            with report.record(None, f" (article {number})"):
                paragraphs = _field(article, "paragraphs", list)
                where = f" (article {article.get('title', number)!r})"
                yield from ((paragraph, where) for paragraph in paragraphs)


def _field(record: Any, key: str, kind: type, form: str = _SQUAD_FORM) -> Any:
    """`record[key]`, if it is there and of the right kind."""
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, kind):
        return value
    found = outline(record) if value is None else f'"{key}" is {outline(value)}'
    what = f'this is not SQuAD: no {"text" if kind is str else "list"} "{key}"'
    raise DataError(what, found=found, fix=form)


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


def _from_table(text: str, report: Report) -> Iterator[_Question]:
    (header_line, header), *rows = _rows(text, report.path) or [(1, [])]
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
            name = cells.get("id") or str(number)
            yield _Question(name, cells["question"], cells["context"], answers, line)


def _rows(text: str, path: str) -> list[tuple[int, list[str]]]:
    """The rows of a table that hold something, and the line each begins at."""
    delimiter = max(",\t;", key=lines_of(text.lstrip())[0].count)
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
            # The last two: lists in lists in lists, deeper than Python goes.
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                return parse(plain.strip())
    return cell


def write_squad(examples: Iterable[QAExample], path: FilePath) -> None:
    """Write questions as SQuAD v1.1 JSON; those in a row that share a context share a paragraph.

    `read_squad` gives equal examples back, but for `candidates`, which SQuAD does not have.

    Raises:
        DataError: the file cannot be written.
    """
    paragraphs = [
        {"context": context, "qas": [squad_question(example) for example in group]}
        for context, group in groupby(examples, key=lambda example: example.context)
    ]
    squad = {"version": "1.1", "data": [{"title": Path(path).stem, "paragraphs": paragraphs}]}
    write_atomically(path, json.dumps(squad, indent=2, ensure_ascii=False) + "\n")


def squad_question(example: QAExample) -> dict[str, Any]:
    """A question as SQuAD has it, inside the paragraph that holds its context."""
    answers = [{"text": answer.text, "answer_start": answer.start} for answer in example.answers]
    return {"id": example.id, "question": example.question, "answers": answers}
