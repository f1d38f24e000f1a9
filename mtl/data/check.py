"""What is in a data file, and every problem with its line and the fix."""

from __future__ import annotations

import json
import re
import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError, DataWarning, Fault
from ..metrics import entity_spans
from .examples import NERExample, PairExample, QAExample, TextExample
from .readers import read_conll, read_jsonl, read_pairs, read_squad, read_text
from .words import split_words

Fact = tuple[str, str]  # what was looked at, and what was found


@dataclass(frozen=True)
class FileReport:
    """What `check_file` found.

    Attributes:
        path: of the file.
        format: its format, in words.
        facts: what is in it, such as `("sentences", "500")`.
        problems: every record that cannot be used, with line and fix.
    """

    path: str
    format: str
    facts: list[Fact] = field(default_factory=list)
    problems: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        facts = [("file", self.path), ("format", self.format), *self.facts]
        width = max(len(name) for name, _ in facts)
        lines = [f"{name:{width}}  {value}" for name, value in facts]
        n = len(self.problems)
        lines.append("no problems" if not n else f"{n:,} problem{'s' if n > 1 else ''}:")
        return "\n".join([*lines, *map(str, self.problems)])


def check_file(path: str | Path) -> FileReport:
    """Read a file of any supported format and look at everything in it.

    Raises:
        DataError: the file is missing, empty, or not UTF-8.
    """
    text = read_text(path)
    name, read, describe = _format_of(Path(path), text)
    problems: list[Fault] = []
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", DataWarning)
        try:
            examples = read(path, "stop")
        except DataError as error:
            problems = error.faults
            examples = _readable(path, read)
    told = [_without_path(str(note.message), path) for note in notes]
    facts = describe(examples) if examples else []
    facts += [("note", note) for note in told if not note.startswith("bad records left out")]
    return FileReport(str(path), name, facts, problems)


def _readable(path: str | Path, read: Callable[[Any, str], list]) -> list:
    """The examples that have no problem; none where the whole file has one."""
    try:
        return read(path, "skip")
    except DataError:
        return []


def _without_path(note: str, path: str | Path) -> str:
    return note.removeprefix(f"{path}: ")


def _format_of(path: Path, text: str) -> tuple[str, Callable, Callable]:
    """The format's name, its reader, and who describes its examples."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return "table of questions (CSV, TSV)", read_squad, _describe_questions
    keys = _first_keys(text) if suffix in (".json", ".jsonl") else None
    if keys is None:
        if suffix in (".json", ".jsonl"):
            return "JSON records", read_jsonl, _describe_texts
        return "CoNLL columns", read_conll, _describe_texts
    if suffix == ".json" and "data" in keys:
        return "SQuAD JSON", read_squad, _describe_questions
    if keys & {"question", "context"}:
        return "JSON questions", read_squad, _describe_questions
    if keys & {"sentence1", "sentence2", "anchor", "positive"}:
        return "JSON pairs of sentences", read_pairs, _describe_pairs
    return "JSON records", read_jsonl, _describe_texts


def _first_keys(text: str) -> set[str] | None:
    """The keys of the first JSON object, or what looks like them; None if there is none."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        return set(json.JSONDecoder().raw_decode(text, start)[0])
    except (ValueError, RecursionError):
        return set(re.findall(r'"(\w+)"\s*:', text[start : start + 2000]))


def _describe_texts(examples: Sequence[NERExample | TextExample]) -> list[Fact]:
    tagged = [example for example in examples if example.tags is not None]
    labels = [e.label for e in examples if isinstance(e, TextExample) and e.label is not None]
    entities = Counter(kind for e in tagged for kind, _, _ in entity_spans(e.tags))
    facts = [("examples", f"{len(examples):,}")]
    if isinstance(examples[0], TextExample):
        facts.append(("with a label", f"{len(labels):,}"))
        facts.append(("labels", _counts(labels)))
        facts.append(("with tags", f"{len(tagged):,}"))
    facts.append(("entities", _counts(entities)))
    if tagged:
        tags = [tag for example in tagged for tag in example.tags]
        facts.append(("tokens that are O", f"{tags.count('O') / len(tags):.1%} of {len(tags):,}"))
    facts.append(("tokens", _lengths([len(example.tokens) for example in examples])))
    return facts + _repeated([example.text for example in examples], "texts")


def _describe_questions(examples: Sequence[QAExample]) -> list[Fact]:
    several = [e for e in examples if any(e.context.count(a.text) > 1 for a in e.answers)]
    inside = [e for e in examples if any(_is_inside_word(e, a.start, a.end) for a in e.answers)]
    return [
        ("questions", f"{len(examples):,}"),
        ("contexts", f"{len({example.context for example in examples}):,}"),
        ("context words", _lengths([_n_words(example.context) for example in examples])),
        ("question words", _lengths([_n_words(example.question) for example in examples])),
        ("answer words", _lengths([_n_words(e.answers[0].text) for e in examples])),
        ("answers whose text occurs more than once", _some(several, examples)),
        ("answers not on token borders", _some(inside, examples)),
    ]


def _describe_pairs(examples: Sequence[PairExample]) -> list[Fact]:
    scores = [example.score for example in examples if example.score is not None]
    words = [_n_words(text) for e in examples for text in (e.first, e.second)]
    facts = [("pairs", f"{len(examples):,}"), ("with a score", f"{len(scores):,}")]
    if scores:
        middle = statistics.median(scores)
        facts.append(("scores", f"{min(scores):g} to {max(scores):g}, median {middle:g}"))
    facts.append(("words", _lengths(words)))
    return facts + _repeated([f"{e.first}\n{e.second}" for e in examples], "pairs")


def _n_words(text: str) -> int:
    return len(split_words(text))


def _is_inside_word(example: QAExample, start: int, end: int) -> bool:
    """Whether a span begins or ends inside a word of the context."""
    words = split_words(example.context)
    return start not in {s for s, _ in words} or end not in {e for _, e in words}


def _counts(names: Sequence[str] | Counter[str], most: int = 20) -> str:
    counts = Counter(names).most_common()
    shown = ", ".join(f"{name} {n:,}" for name, n in counts[:most])
    return (shown or "none") + (f", and {len(counts) - most} more" if len(counts) > most else "")


def _lengths(lengths: Sequence[int]) -> str:
    middle = statistics.median(lengths)
    return f"{min(lengths)} to {max(lengths)}, median {middle:g}"


def _some(found: Sequence[QAExample], examples: Sequence[QAExample]) -> str:
    names = ", ".join(example.id for example in found[:3])
    more = ", ..." if len(found) > 3 else ""
    share = f"{len(found):,} ({len(found) / len(examples):.1%})"
    return f"{share}: {names}{more}" if found else "0"


def _repeated(texts: Sequence[str], what: str) -> list[Fact]:
    n = len(texts) - len(set(texts))
    return [(f"repeated {what}", f"{n:,}")] if n else []
