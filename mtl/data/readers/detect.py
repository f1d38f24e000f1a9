"""A file of any form goes in; its form comes out, found from the content, not from the name.

`mtl check`, `mtl train`, `mtl evaluate` and `mtl.read` all ask here, so they all see the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError
from ..stored import StoredExamples
from .blocks import columns_of
from .columns import read_conll
from .json_forms import json_form
from .kinds import COLUMNS
from .large import head_of, read_large
from .parallel import parallel_files, read_parallel
from .parquet import parquet_files, parquet_form
from .schemes import spelling_of
from .source import FilePath, Report, lines_in, lines_of, only_set, read_text, short
from .tables import clear_table_form, table_form, unknown_table_form

FORMS = (
    "columns (a word and its tag per line), JSON records, SQuAD, tables (CSV, TSV), lines of "
    "fastText, folders of parallel files: see docs/data.md"
)


class Form(NamedTuple):
    """The form of a file: its name in words, and its reader `(path, on_error, **options)`."""

    name: str
    read: Callable[..., Sequence[Any]]


class Examples(list):
    """A list of examples that knows which form they were read from: `form`, in words."""

    form: str = ""


def detect(path: FilePath) -> Form:
    """The form of a file, or of a folder with parallel files.

    Raises:
        DataError: the file cannot be opened or is not text; its form is unknown.
    """
    if files := parquet_files(path):
        return Form(*parquet_form(files))
    if Path(path).is_dir():
        if parallel_files(path):
            return Form("parallel files", read_parallel)
        # Ten names are enough to see that it is the wrong folder; some hold thousands of files.
        names = ", ".join(sorted(p.name for p in Path(path).iterdir())[:10]) or "nothing"
        raise DataError(
            "the folder holds no parallel files",
            path=path,
            found=f"{names} (this is a directory)",
            fix="name a file in it; or a folder with train, dev and test files, where a dataset is "
            "asked for; or one with seq.in, seq.out and label",
        )
    text = head_of(path) or read_text(path)
    # From the unmistakable to the doubtful: a bracket begins JSON, a header that we know begins a
    # table, and letters such as B-PER down a column are tags. Only if there are none of these does
    # the shape of the lines decide: prose has commas too, and a bare table may look like columns.
    form = json_form(text) or table_form(text)
    if form is None and not _has_column_of_tags(text):
        form = clear_table_form(text)
        if form is None and not _looks_like_columns(text):
            form = unknown_table_form(text) or _plain_text_form(text)
    if form is None:
        name = "CoNLL-U" if _is_conllu(text) else COLUMNS.name
        form = name, partial(_read_columns, name)
    return Form(*form)


def read(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    column: int | str | list[int | str] | None = None,
    label_names: Sequence[str] | None = None,
    fields: Sequence[int | str] = (),
    scores: Sequence[str] = (),
    whole_documents: bool = False,
    speech: bool = False,
) -> Examples | StoredExamples:
    """Read a file of any form that we know, found from its content.

    Args:
        path: a file in UTF-8, or a folder with parallel files.
        on_error: "stop" raises all faults together; "skip" leaves out the records that have one.
        strict: refuse tags that break the scheme of the file; by default they are read as
            `conlleval` reads them, and counted.
        column: of the tags, or of the label in a table: its number from 1, or its name; in a file
            of columns, a list of them where they hold layers of nested entities.
        label_names: what tags or labels written as whole numbers mean, in order from 0.
        fields: further fields of a record, or columns of a table, to keep as labels; in a file of
            columns, further columns of tags, as numbers from 1 or names (`["upos", "xpos"]`).
        scores: further fields of a record, or columns of a table, that hold numbers. `score` need
            not be named, if it holds nothing else.
        whole_documents: in a file of columns, an example is a document rather than a sentence; a
            line such as `# newdoc`, `# doc_id = ...` or `-DOCSTART-` begins one.
        speech: where a file has both, its parts of speech are the tags, rather than its entities.

    Returns:
        a list of examples whose `form` says what was found. A file of more than 64 MB, other
        than JSON in one list, gives `StoredExamples`, which are on disk, in the folder that
        `MTL_CACHE` names.

    Raises:
        DataError: the file cannot be read in its form; every fault with its line.
        ConfigError: `on_error` or `column` is something else.
    """
    form = detect(path)
    # Each reader takes those that mean something in its form: columns hold no scores of a text.
    options = only_set(
        strict=strict,
        column=column,
        label_names=label_names,
        fields=fields,
        scores=scores,
        whole_documents=whole_documents,
        speech=speech,
    )
    found = form.read(path, on_error, **options)
    if isinstance(found, StoredExamples):
        return found
    examples = Examples(found)
    # A list with an attribute, so that those who only want the examples never meet the form.
    examples.form = form.name
    return examples


def _read_columns(
    name: str, path: FilePath, on_error: str = "stop", **options: Any
) -> Sequence[Any]:
    if head_of(path) is not None:
        return read_large(COLUMNS, name, path, on_error, rows=_lines, **options)
    return read_conll(path, on_error, **COLUMNS.chosen(options))


def _lines(path: FilePath, _: Report) -> Iterator[str]:
    return lines_in(path)


def _rows(text: str) -> tuple[list[list[str]], float]:
    """The rows of the first lines that have the usual number of columns, and their share."""
    # The first lines show the form of a file of any size, at the same cost.
    rows = [columns_of(line) for line in lines_of(text)[:2000] if not line.startswith("#")]
    rows = [cells for cells in rows if cells]
    widths = Counter(map(len, rows))
    width = max(widths, key=widths.__getitem__, default=0)
    fitting = [cells for cells in rows if len(cells) == width > 1]
    return fitting, len(fitting) / max(1, len(rows))


def _has_column_of_tags(text: str) -> bool:
    """Whether most lines have the same number of columns, one of tags with letters (B-PER)."""
    rows, share = _rows(text)
    read = [spelling_of(Counter(column)) for column in zip(*rows, strict=True)]
    # Types without letters (PER) do not count: in a table they may be classes.
    tagged = any(known and known[1] > 0.9 and not known[0].is_plain for known in read)
    # A few broken lines must not change the form: they are faults to be reported later.
    return share > 0.5 and tagged


def _looks_like_columns(text: str) -> bool:
    """Whether lines have the same number of columns, with cells that look like words.

    With tabs, a word may contain blanks, but seldom does; with blanks, all lines have the same
    number of words only if they are meant as columns.
    """
    rows, share = _rows(text)
    if "\t" not in text:
        return share >= 0.9
    return share > 0.5 and 4 * sum(any(" " in cell for cell in cells) for cells in rows) < len(rows)


def _plain_text_form(text: str) -> tuple[str, Callable[..., Sequence[Any]]] | None:
    """Text without tabs, and without tags at the ends of lines, is not meant as columns."""
    rows = [columns_of(line) for line in lines_of(text)[:2000]]
    # A tag at the end of each line is meant as a column, even if lines differ in length.
    ends = Counter(cells[-1] for cells in rows if len(cells) > 1)
    return None if "\t" in text or spelling_of(ends) else ("plain text", _refuse_plain_text)


def _refuse_plain_text(path: FilePath, on_error: str = "stop", **_: Any) -> list[Any]:
    lines = (line for line in lines_in(path) if line.strip())
    first, others = next(lines), sum(1 for _ in lines)  # a large file need not fit into memory
    found = f"{1 + others:,} lines, the first is {short(first, 80)}"
    what = "this is plain text, without labels or tags to learn from"
    raise DataError(what, path=path, found=found, fix=f"forms that are read: {FORMS}")


def _is_conllu(text: str) -> bool:
    # CoNLL-U separates its ten columns by tabs alone, and numbers its words.
    rows = [line.split("\t") for line in lines_of(text)[:200] if "\t" in line and line[0] != "#"]
    return bool(rows) and all(len(cells) == 10 and cells[0][:1].isdecimal() for cells in rows)
