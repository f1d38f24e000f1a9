"""A folder of parallel files goes in; texts with tags and labels come out, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..examples import TextExample
from .classes import ClassNames
from .schemes import IOB2_SPELLING, spelling_of
from .source import FilePath, Report, in_memory, lines_of, read_text
from .taglists import TaggedRow, tagged_texts

# The names of the files, without the ending .txt.
NAMES = {
    "text": ("seq.in", "text", "texts", "sentence", "sentences", "tokens", "words", "source", "in"),
    "tags": ("seq.out", "tags", "slots", "bio", "iob", "ner", "out"),
    "label": ("label", "labels", "intent", "intents", "class", "classes"),
}


def parallel_files(folder: FilePath) -> dict[str, Path]:
    """The parallel files of a folder, by what they hold; empty unless texts have a partner.

    SNIPS and ATIS are distributed as `seq.in`, `seq.out` and `label` (Goo et al. 2018,
    "Slot-gated modeling for joint slot filling and intent prediction").
    """
    files = {path.name.lower().removesuffix(".txt"): path for path in Path(folder).iterdir()}
    found = {
        part: next(files[name] for name in names if name in files)
        for part, names in NAMES.items()
        if not files.keys().isdisjoint(names)
    }
    # Texts alone give nothing to learn, and `words.txt` may be any list of words.
    return found if "text" in found and len(found) > 1 else {}


def read_parallel(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    label_names: Sequence[str] | None = None,
    **_: Any,
) -> list[TextExample]:
    """Read a folder of parallel files: line n of each belongs to the same text.

    Args:
        path: a folder with texts (`seq.in`), and their tags (`seq.out`) or labels (`label`).
        on_error: "stop" raises all faults together; "skip" leaves out the lines that have one.
        strict: refuse tags that break their scheme, as `read_conll` does.
        label_names: what labels written as whole numbers mean, in order from 0.

    Raises:
        DataError: files of different lengths; a line with more or fewer tags than words; a label
            that is a number without a name.
    """
    report = Report(path, on_error)
    files = parallel_files(path)
    lines = {part: _lines(file) for part, file in files.items()}
    # Before pairing: one missing line would shift all labels after it.
    _check_lengths(files, lines, report.path)
    rows = [line.split() for line in lines.get("tags", ())]
    read = spelling_of(Counter(tag for row in rows for tag in row))
    spelling = (read[0] if read else IOB2_SPELLING) if rows else None
    labels = lines.get("label", [])
    classes = ClassNames(lambda: labels, label_names, path)
    parsed = []
    for i, text in enumerate(lines["text"]):
        with report.record(i + 1):
            tags = rows[i] if rows else None
            said = classes.of(labels[i], report.counts) if labels else None
            parsed.append(TaggedRow(i + 1, text.strip(), text.split(), tags, said))
    report.notes += classes.notes()
    examples = tagged_texts(parsed, spelling, report, in_memory, strict)
    return report.finish(list(examples), "text")


def _lines(path: Path) -> list[str]:
    """The lines of a file. Empty ones within it count, so that line n belongs to line n."""
    lines = lines_of(read_text(path))
    # One file may end in a line break and another not: that does not count as a difference in
    # length.
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _check_lengths(files: dict[str, Path], lines: dict[str, list[str]], path: str) -> None:
    counts = {files[part].name: len(part_lines) for part, part_lines in lines.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} has {n:,} lines" for name, n in counts.items())
        fix = "line n of each file belongs to the same text: find the line that is missing"
        raise DataError("parallel files of different lengths", path=path, found=found, fix=fix)
