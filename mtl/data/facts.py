"""Examples go in; what is in them, in words, comes out: for `mtl check`.

Texts may be more than fit into memory, so they are counted in one pass, one after the other.
"""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from .examples import (
    Answer,
    NERExample,
    PairExample,
    QAExample,
    TextExample,
    TokenExample,
    labels_in,
)
from .stored import kinds_of
from .words import Place, split_words

Fact = tuple[str, str]  # what was looked at, and what was found


def describe(examples: Sequence[Any]) -> list[Fact]:
    """What is in some examples, which are all of one class."""
    return _DESCRIBE[type(examples[0])](examples)


@dataclass
class _Labels:
    """How often each label occurs, and how many of them a text has."""

    names: Counter[str] = field(default_factory=Counter)
    how_many: Counter[int] = field(default_factory=Counter)

    def see(self, labels: tuple[str, ...] | None) -> None:
        if labels is not None:
            self.names.update(labels)
            self.how_many[len(labels)] += 1

    def facts(self, name: str) -> list[Fact]:
        known = self.how_many.total()
        facts = [("with a label", f"{known:,}")] if name == "labels" else []
        facts.append((name, _counts(self.names)))
        if self.how_many.keys() - {1}:
            how_many = f"{_lengths(self.how_many)}; none of them: {self.how_many[0]:,}"
            facts.append((f"{name} of a text", how_many))
        return facts


class _Repeated:
    """How many texts occur again, by 8 bytes of each rather than the text."""

    def __init__(self) -> None:
        self.hashes = array("Q")

    def see(self, text: str) -> None:
        digest = blake2b(text.encode(), digest_size=8).digest()
        self.hashes.append(int.from_bytes(digest, "little"))

    def facts(self, what: str) -> list[Fact]:
        again = len(self.hashes) - len(set(self.hashes))
        return [(f"repeated {what}", f"{again:,}")] if again else []


class _Texts:
    """What is in texts with labels or tags, or in sentences with entities."""

    def __init__(self, examples: Sequence[NERExample | TextExample]) -> None:
        self.n, self.tagged = len(examples), 0
        self.are_records = any(issubclass(kind, TextExample) for kind in kinds_of(examples))
        self.labels, self.fields = _Labels(), dict[str, _Labels]()
        self.scores: dict[str, array[float]] = {}
        self.entities, self.inner, self.tags = Counter[str](), Counter[str](), Counter[str]()
        self.lengths, self.repeated = Counter[int](), _Repeated()
        for example in examples:
            self._see(example)
            if isinstance(example, TextExample):
                self._see_record(example)

    def _see(self, example: NERExample | TextExample) -> None:
        self.tagged += example.tags is not None
        self.tags.update(example.tags or ())
        self.entities.update(kind for kind, _, _ in example.entities)
        self.inner.update(kind for kind, _, _ in example.inner)
        self.lengths[len(example.tokens) or _n_words(example.text)] += 1
        self.repeated.see(example.text)

    def _see_record(self, text: TextExample) -> None:
        self.labels.see(labels_in(text))
        for name in text.fields:
            self.fields.setdefault(name, _Labels()).see(labels_in(text, name))
        for name, score in text.scores.items():
            self.scores.setdefault(name, array("d")).append(score)

    def facts(self) -> list[Fact]:
        facts = [("examples", f"{self.n:,}")]
        if self.are_records:
            facts += self.labels.facts("labels")
            facts += [fact for name, labels in self.fields.items() for fact in labels.facts(name)]
            facts += [(name, _range(scores)) for name, scores in self.scores.items()]
            facts.append(("with tags", f"{self.tagged:,}"))
        facts.append(("entities", _counts(self.entities)))
        if self.inner:
            facts.append(("of them inside others", _counts(self.inner)))
        if n := self.tags.total():
            facts.append(("tokens that are O", f"{self.tags['O'] / n:.1%} of {n:,}"))
        facts.append(("tokens", _lengths(self.lengths)))
        return facts + self.repeated.facts("texts")


def _describe_texts(examples: Sequence[NERExample | TextExample]) -> list[Fact]:
    return _Texts(examples).facts()


def _describe_tokens(examples: Sequence[TokenExample]) -> list[Fact]:
    tagged = [example.tags for example in examples if example.tags is not None]
    return [
        ("examples", f"{len(examples):,}"),
        ("with tags", f"{len(tagged):,}"),
        ("tags", _counts([tag for tags in tagged for tag in tags])),
        ("tokens", _lengths([len(example.tokens) for example in examples])),
        *_repeated((example.text for example in examples), "texts"),
    ]


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
    return facts + _repeated((f"{e.first}\n{e.second}" for e in examples), "pairs")


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


def _lengths(lengths: Iterable[int]) -> str:
    """The shortest, the longest and the median; of a Counter, as often as each occurs."""
    counts = Counter(lengths)
    if not counts:
        return "none"
    return f"{min(counts)} to {max(counts)}, median {statistics.median(counts.elements()):g}"


def _range(numbers: Sequence[float]) -> str:
    return f"{min(numbers):g} to {max(numbers):g}, median {statistics.median(numbers):g}"


def _some(found: Sequence[QAExample], examples: Sequence[QAExample]) -> str:
    names = ", ".join(example.id for example in found[:3])
    more = ", ..." if len(found) > 3 else ""
    share = f"{len(found):,} ({len(found) / len(examples):.1%})"
    return f"{share}: {names}{more}" if found else "0"


def _repeated(texts: Iterable[str], what: str) -> list[Fact]:
    seen = _Repeated()
    for text in texts:
        seen.see(text)
    return seen.facts(what)


_DESCRIBE = {
    TokenExample: _describe_tokens,
    NERExample: _describe_texts,
    TextExample: _describe_texts,
    QAExample: _describe_questions,
    PairExample: _describe_pairs,
}
