"""A data file or a folder goes in; what is in it, and every problem with its line, come out."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from ..errors import DataError, DataWarning, Fault
from ..metrics import entity_spans
from .examples import NERExample, PairExample, QAExample, TextExample, TokenExample, labels_in
from .facts import Fact, describe
from .readers import Form, LeftOutWarning, SoundDataError, detect, files_of, only_set


@dataclass(frozen=True)
class FileReport:
    """What `check_file` found in a file.

    Attributes:
        path: of the file.
        format: its form, in words.
        facts: what is in it, such as `("sentences", "500")`.
        problems: every record that cannot be used, with line and fix.
    """

    path: str
    format: str
    facts: list[Fact] = field(default_factory=list)
    problems: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        facts = [("file", self.path), ("format", self.format), *self.facts]
        return "\n".join([_table(facts), *_problems(self.problems)])


@dataclass(frozen=True)
class FolderReport:
    """What `check_file` found in a folder.

    Attributes:
        path: of the folder.
        files: by split, what is in each file.
        facts: what the files have in common, and what only one of them has.
        problems: those of all files.
    """

    path: str
    files: dict[str, FileReport]
    facts: list[Fact] = field(default_factory=list)

    @property
    def problems(self) -> list[Fault]:
        return [fault for report in self.files.values() for fault in report.problems]

    def __str__(self) -> str:
        parts = [f"{split}\n{report}" for split, report in self.files.items()]
        facts = [("folder", self.path), ("splits", ", ".join(self.files)), *self.facts]
        return "\n\n".join([*parts, _table(facts)])


def _table(facts: Sequence[Fact]) -> str:
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:{width}}  {value}" for name, value in facts)


def _problems(problems: Sequence[Fault]) -> list[str]:
    n = len(problems)
    title = "no problems" if not n else f"{n:,} problem{'s' if n > 1 else ''}:"
    return [title, *map(str, problems)]


def check_file(path: str | Path, **options: Any) -> FileReport | FolderReport:
    """Read a file of any form we know, or each file of a folder, and look at everything in it.

    Args:
        path: a file, a folder of parallel files, or one with files for train, dev and test.
        options: of `mtl.read`, such as `column`.

    Raises:
        DataError: a file is missing, empty, or not UTF-8; a folder holds no data.
    """
    # A folder of parallel files is one set of data, not one for each split.
    if not Path(path).is_dir() or files_of(path) == {"train": Path(path)}:
        return _check(path, options)[0]
    checked = {split: _check(file, options) for split, file in files_of(path).items()}
    splits = {split: examples for split, (_, examples) in checked.items()}
    facts = texts_in_two_splits(splits) + names_not_in_train(splits)
    return FolderReport(str(path), {split: report for split, (report, _) in checked.items()}, facts)


def _check(path: str | Path, options: Mapping[str, Any]) -> tuple[FileReport, Sequence[Any]]:
    form = detect(path)
    given = only_set(**options)
    problems: list[Fault] = []
    facts: list[Fact] = []
    examples: Sequence[Any] = []
    with warnings.catch_warnings(record=True) as notes:
        # By default Python shows a warning once; a second file would seem to have none.
        warnings.simplefilter("always", DataWarning)
        try:
            examples = form.read(path, "stop", **given)
        except SoundDataError as error:  # the file is fine; its user has a choice to make
            facts = [("note", _in_one_line(fault)) for fault in error.faults]
        except DataError as error:
            problems = error.faults
            if error.not_kept:
                facts = [("note", f"{error.not_kept:,} more problems, which are not listed")]
            # The good part is described too: one bad line should not hide what the file is.
            examples = _readable(path, form, given)
    if examples:
        facts += describe(examples)
    # The count of left-out records says nothing new here: each is listed as a problem.
    told = [note for note in notes if not issubclass(note.category, LeftOutWarning)]
    facts += [("note", _without_path(str(note.message), path)) for note in told]
    return FileReport(str(path), form.name, facts, problems), examples


def _in_one_line(fault: Fault) -> str:
    return ". ".join(part for part in (fault.what, fault.found, fault.fix) if part)


def _readable(path: str | Path, form: Form, options: Mapping[str, Any]) -> Sequence[Any]:
    """The examples that have no problem; none where the whole file has one."""
    try:
        return form.read(path, "skip", **options)
    except DataError:
        return []


def _without_path(note: str, path: str | Path) -> str:
    return note.removeprefix(f"{path}: ")


def texts_in_two_splits(splits: Mapping[str, Sequence[Any]]) -> list[Fact]:
    """Which splits have texts in common, and how many."""
    facts = []
    texts = _counted_texts(splits)
    for first, second in combinations(splits, 2):
        # A text that was trained on tests memory, not understanding.
        shared = [text for text in texts[second] if text in texts[first]]
        if shared:
            # Examples, not different texts: those are what a score is averaged over.
            n = sum(texts[second][text] for text in shared)
            shown = ", ".join(repr(_short(" / ".join(text))) for text in shared[:3])
            share = f"{n:,} of the {len(splits[second]):,} in {second}"
            facts.append((f"in both {first} and {second}", f"{share}, such as {shown}"))
    return facts


def _counted_texts(splits: Mapping[str, Sequence[Any]]) -> dict[str, Counter[tuple[str, ...]]]:
    """How often each text occurs in each split; in the largest, only those of the others."""
    largest = max(splits, key=lambda split: len(splits[split]))
    others = {
        split: Counter(map(_identity, of)) for split, of in splits.items() if split != largest
    }
    # The largest may be larger than memory, and what only it has is in no two splits.
    known = set().union(*others.values())
    shared = Counter(text for text in map(_identity, splits[largest]) if text in known)
    return {split: others.get(split, shared) for split in splits}


def names_not_in_train(splits: Mapping[str, Sequence[Any]], *kinds: str) -> list[Fact]:
    """Classes and entity types that other splits have and `train` does not.

    Args:
        splits: the examples of each, by name.
        kinds: only these: `class`, `type` (of entities), `tag`, or the name of a field; by default
            all.
    """
    facts = []
    # A model can only say what it has seen in training: anything else is always wrong.
    known = set(_names(splits.get("train", ())))
    for split, examples in splits.items():
        new = Counter(name for name in _names(examples) if name not in known)
        names = [f"{k} {name!r} ({n:,})" for (k, name), n in new.items() if not kinds or k in kinds]
        # If training has no names at all, everything would be new.
        if names and known:
            facts.append((f"in {split} but never in train", ", ".join(names[:20])))
    return facts


def _identity(example: Any) -> tuple[str, ...]:
    """The texts of an example, which identify it."""
    match example:
        case QAExample():
            return (example.question, example.context)
        case PairExample():
            return (example.first, example.second)
    return (getattr(example, "text", repr(example)),)


def _names(examples: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Every class, entity type and other tag of some examples, as often as it occurs."""
    for example in examples:
        yield from (("class", label) for label in labels_in(example) or ())
        for name, value in getattr(example, "fields", {}).items():
            yield from ((name, each) for each in ([value] if isinstance(value, str) else value))
        tags = getattr(example, "tags", None) or ()
        if type(example) is TokenExample:
            yield from (("tag", tag) for tag in tags)
        else:
            inner = getattr(example, "inner", ())
            yield from (("type", kind) for kind, _, _ in (*entity_spans(tags), *inner))


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


def examples_in_words(kind: type) -> str:
    """What a class of examples is, for messages."""
    return _IN_WORDS.get(kind, kind.__name__)


_IN_WORDS = {
    TokenExample: "sentences with one tag per word",
    NERExample: "sentences with one tag per word",
    TextExample: "texts with labels or tags",
    QAExample: "questions with contexts and answers",
    PairExample: "pairs of sentences",
}
