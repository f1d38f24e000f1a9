"""A data file or a folder goes in; what is in it, and every problem with its line, come out."""

from __future__ import annotations

import statistics
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from ..errors import DataError, DataWarning, Fault
from ..metrics import entity_spans
from .examples import (
    Answer,
    NERExample,
    PairExample,
    QAExample,
    TextExample,
    TokenExample,
    labels_in,
)
from .readers import Form, LeftOutWarning, SoundDataError, detect, files_of, only_set
from .words import Place, split_words

Fact = tuple[str, str]  # what was looked at, and what was found


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
            # The good part is described too: one bad line should not hide what the file is.
            examples = _readable(path, form, given)
    if examples:
        facts += _DESCRIBE[type(examples[0])](examples)
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


def _describe_texts(examples: Sequence[NERExample | TextExample]) -> list[Fact]:
    tagged = [example.tags for example in examples if example.tags is not None]
    entities = Counter(kind for example in examples for kind, _, _ in example.entities)
    facts = [("examples", f"{len(examples):,}")]
    texts = [example for example in examples if isinstance(example, TextExample)]
    if texts:
        facts += _describe_labels("labels", [labels_in(text) for text in texts])
        for name in dict.fromkeys(key for text in texts for key in text.fields):
            facts += _describe_labels(name, [labels_in(text, name) for text in texts])
        for name in dict.fromkeys(key for text in texts for key in text.scores):
            facts.append((name, _range([t.scores[name] for t in texts if name in t.scores])))
        facts.append(("with tags", f"{len(tagged):,}"))
    facts.append(("entities", _counts(entities)))
    if inner := Counter(kind for example in examples for kind, _, _ in example.inner):
        facts.append(("of them inside others", _counts(inner)))
    if tagged:
        every = [tag for tags in tagged for tag in tags]
        share = f"{every.count('O') / len(every):.1%} of {len(every):,}"
        facts.append(("tokens that are O", share))
    facts.append(("tokens", _lengths([len(e.tokens) or _n_words(e.text) for e in examples])))
    return facts + _repeated([example.text for example in examples], "texts")


def _describe_tokens(examples: Sequence[TokenExample]) -> list[Fact]:
    tagged = [example.tags for example in examples if example.tags is not None]
    return [
        ("examples", f"{len(examples):,}"),
        ("with tags", f"{len(tagged):,}"),
        ("tags", _counts([tag for tags in tagged for tag in tags])),
        ("tokens", _lengths([len(example.tokens) for example in examples])),
        *_repeated([example.text for example in examples], "texts"),
    ]


def _describe_labels(name: str, said: Sequence[tuple[str, ...] | None]) -> list[Fact]:
    """How many texts are labelled, how often each label occurs, and how many of them a text has."""
    known = [labels for labels in said if labels is not None]
    facts = [("with a label", f"{len(known):,}")] if name == "labels" else []
    facts.append((name, _counts([label for labels in known for label in labels])))
    if any(len(labels) != 1 for labels in known):
        how_many = f"{_lengths(list(map(len, known)))}; none of them: {known.count(()):,}"
        facts.append((f"{name} of a text", how_many))
    return facts


def _describe_questions(examples: Sequence[QAExample]) -> list[Fact]:
    # Many questions share a context: it is split only once.
    words = {context: split_words(context) for context in {e.context for e in examples}}
    borders = {context: _borders(places) for context, places in words.items()}
    # Where the file gives no offset, any of them may be meant.
    several = [e for e in examples if any(e.context.count(a.text) > 1 for a in e.answers)]
    inside = [e for e in examples if not _on_borders(e.answers, *borders[e.context])]
    answered = [example for example in examples if example.answers]
    unanswerable = len(examples) - len(answered)
    return [
        ("questions", f"{len(examples):,}"),
        *([("without an answer", f"{unanswerable:,}")] if unanswerable else []),
        ("contexts", f"{len(words):,}"),
        ("context words", _lengths([len(words[example.context]) for example in examples])),
        ("question words", _lengths([_n_words(example.question) for example in examples])),
        ("answer words", _lengths([_n_words(e.answers[0].text) for e in answered])),
        ("answers whose text occurs more than once", _some(several, examples)),
        ("answers not on token boundaries", _some(inside, examples)),
    ]


def _describe_pairs(examples: Sequence[PairExample]) -> list[Fact]:
    scores = [example.raw_score for example in examples if example.raw_score is not None]
    labels = [example.label for example in examples if example.label is not None]
    words = [_n_words(text) for e in examples for text in (e.first, e.second)]
    facts = [("pairs", f"{len(examples):,}"), ("with a score", f"{len(scores):,}")]
    if scores:
        facts.append(("scores", _range(scores)))
    if labels:
        facts += [("with a label", f"{len(labels):,}"), ("labels", _counts(labels))]
    facts.append(("words", _lengths(words)))
    return facts + _repeated([f"{e.first}\n{e.second}" for e in examples], "pairs")


def _n_words(text: str) -> int:
    return len(split_words(text))


def _borders(words: Sequence[Place]) -> tuple[set[int], set[int]]:
    """Where words begin, and where they end."""
    return {start for start, _ in words}, {end for _, end in words}


def _on_borders(answers: Sequence[Answer], starts: set[int], ends: set[int]) -> bool:
    """Whether every answer begins and ends where a word does."""
    return all(answer.start in starts and answer.end in ends for answer in answers)


def _counts(names: Sequence[str] | Counter[str], most: int = 20) -> str:
    counts = Counter(names).most_common()
    shown = ", ".join(f"{name} {n:,}" for name, n in counts[:most])
    return (shown or "none") + (f", and {len(counts) - most} more" if len(counts) > most else "")


def _lengths(lengths: Sequence[int]) -> str:
    if not lengths:
        return "none"
    middle = statistics.median(lengths)
    return f"{min(lengths)} to {max(lengths)}, median {middle:g}"


def _range(numbers: Sequence[float]) -> str:
    return f"{min(numbers):g} to {max(numbers):g}, median {statistics.median(numbers):g}"


def _some(found: Sequence[QAExample], examples: Sequence[QAExample]) -> str:
    names = ", ".join(example.id for example in found[:3])
    more = ", ..." if len(found) > 3 else ""
    share = f"{len(found):,} ({len(found) / len(examples):.1%})"
    return f"{share}: {names}{more}" if found else "0"


def _repeated(texts: Sequence[str], what: str) -> list[Fact]:
    n = len(texts) - len(set(texts))
    return [(f"repeated {what}", f"{n:,}")] if n else []


_DESCRIBE = {
    TokenExample: _describe_tokens,
    NERExample: _describe_texts,
    TextExample: _describe_texts,
    QAExample: _describe_questions,
    PairExample: _describe_pairs,
}
_IN_WORDS = {
    TokenExample: "sentences with one tag per word",
    NERExample: "sentences with one tag per word",
    TextExample: "texts with labels or tags",
    QAExample: "questions with contexts and answers",
    PairExample: "pairs of sentences",
}
