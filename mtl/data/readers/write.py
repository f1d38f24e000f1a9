"""Examples go in, files come out, in every form that can hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, takewhile
from os import PathLike
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError
from ...files import write_atomically
from ...metrics import Span
from ..examples import NERExample, PairExample, QAExample, TextExample, TokenExample
from ..nesting import iob2_tags, layers
from .blocks import columns_of
from .source import FilePath, lines_of
from .tag_columns import NOT_KNOWN

Example = TokenExample | QAExample | TextExample | PairExample
Tagged = TokenExample | TextExample


CONLLU_FIELDS = ("upos", "xpos", "ner")  # what a sentence of CoNLL-U can say about its words


def _check_order(examples: object) -> None:
    """Raise DataError if the path came first."""
    if isinstance(examples, str | PathLike):
        fix = "give the examples first, then the path: write(examples, path)"
        raise DataError("this is a path, not the examples", found=repr(examples), fix=fix)


def write_jsonl(examples: Iterable[Example], path: FilePath) -> None:
    """Write one JSON object per line, with the fields that `read_jsonl` and `read_pairs` read; of a
    QAExample `id`, `question`, `context` and `answers`.

    Raises:
        DataError: the file cannot be written.
    """
    _check_order(examples)
    records = (json.dumps(_json_record(example), ensure_ascii=False) for example in examples)
    write_atomically(path, "".join(f"{record}\n" for record in records))


def _json_record(example: Example) -> dict[str, Any]:
    record: dict[str, Any]
    match example:
        case NERExample():
            record = {"sentence": example.text, "tokens": example.tokens, **_entities(example)}
        case TextExample():
            record = {"sentence": example.text, "tokens": example.tokens or None}
            # `read_jsonl` makes a label of a list with one.
            label = example.label if example.labels is None else None
            record |= {"label": label, "labels": example.labels}
            record |= {**_entities(example), **example.fields, **example.scores}
        case PairExample():
            record = {"sentence1": example.first, "sentence2": example.second}
            record |= {"negative": example.negative, "label": example.label, "score": example.score}
            if example.raw_score != example.score:
                record["raw_score"] = example.raw_score
        case QAExample():
            record = _squad_question(example, may_lack_answers=not example.answers)
            record |= {"context": example.context, "answers": record.pop("answers")}
    # Our readers treat a missing field like a null, and the file is shorter.
    return {key: value for key, value in record.items() if value is not None}


def _entities(example: NERExample | TextExample) -> dict[str, Any]:
    """The tags of an example; where they cannot say it all, its entities by their first and last
    token, as GLiNER writes them."""
    if not example.inner:
        return {"ner_tags": example.tags}
    return {"ner": [[first, last - 1, kind] for kind, first, last in example.entities]}


def write_conll(examples: Iterable[Tagged], path: FilePath) -> None:
    """Write sentences as `token TAB tag` lines; `read_conll` gives equal examples back, if the tags
    are in IOB2; of others, the parts of speech of a tag set that it knows.

    Fields named by the numbers of columns, from 2 on, come before the tag; after it comes a column
    for each layer of entities inside others.

    Raises:
        DataError: a text without tags; a token or tag that the format cannot hold, such as one with
            a tab in it; the file cannot be written.
    """
    _check_order(examples)
    examples = list(examples)
    # All lines have the same columns, even where a sentence has nothing for some of them.
    n_fields = max((len(_numbered(example)) for example in examples), default=0)
    layered = [layers(getattr(example, "inner", ())) for example in examples]
    depth = max(map(len, layered), default=0)
    parts = zip(examples, layered, strict=True)
    write_atomically(path, "\n".join(_conll_sentence(*part, n_fields, depth) for part in parts))


def _numbered(example: Tagged) -> list[str]:
    """The fields of a sentence that are named by the numbers of columns: 2, 3 and so on."""
    if isinstance(example, TextExample):
        return []  # its fields are labels of the whole text
    numbers = map(str, range(2, len(example.fields) + 2))
    return list(takewhile(example.fields.__contains__, numbers))


def _conll_sentence(example: Tagged, inner: list[list[Span]], n_fields: int, depth: int) -> str:
    if example.tags is None:
        fix = "write jsonl, which needs no tags"
        raise DataError("columns hold words with tags", found=repr(example.text), fix=fix)
    n = len(example.tokens)
    fields = [example.fields[name] for name in _numbered(example)]
    fields += [(NOT_KNOWN,) * n] * (n_fields - len(fields))
    under = [iob2_tags(n, layer) for layer in inner] + [("O",) * n] * (depth - len(inner))
    return "".join(
        map(_conll_line, zip(example.tokens, *fields, example.tags, *under, strict=True))
    )


def _conll_line(cells: tuple[str, ...]) -> str:
    token, *tags = cells
    line = "\t".join(cells)
    # Read back before it is written: what would not come back the same is refused.
    if lines_of(line) != [line] or columns_of(line) != [*cells] or token.startswith("\ufeff"):
        found = f"{token!r} with the tag {', '.join(map(repr, tags))}"
        fix = "remove tabs, line breaks, outer blanks, byte order marks and -DOCSTART-"
        raise DataError("a CoNLL file cannot hold this token", found=found, fix=fix)
    return f"{line}\n"


def write_conllu(examples: Iterable[Tagged], path: FilePath) -> None:
    """Write CoNLL-U: the words in the second column, entities in the tenth as `NER=B-PER`, tags of
    another kind in that of the universal parts of speech.

    The fields `ner`, `upos` and `xpos` have their place too. `read_conll` gives equal tokens and
    tags back: entities if there are any, or else parts of speech.

    Source: universaldependencies.org/format.html.

    Raises:
        DataError: a word or text that the format cannot hold; the file cannot be written.
    """
    write_atomically(path, "".join(f"{_conllu_sentence(example)}\n" for example in examples))


def _conllu_sentence(example: Tagged) -> str:
    if not example.tokens:
        fix = "write jsonl, which needs no words"
        raise DataError("CoNLL-U holds words, and a text has none", found=example.text, fix=fix)
    columns = _conllu_columns(example)
    tags = [tag for tagged in columns.values() for tag in tagged or ()]
    for text in (example.text, *example.tokens, *tags):
        if lines_of(text) != [text] or "\t" in text:
            fix = "remove tabs and line breaks"
            raise DataError("a CoNLL-U file cannot hold this text", found=repr(text), fix=fix)
    lines = [f"# text = {example.text}\n"]
    unknown = [NOT_KNOWN] * len(example.tokens)
    upos, xpos, ner = (columns.get(name) or unknown for name in CONLLU_FIELDS)
    rows = zip(example.tokens, upos, xpos, ner, strict=True)
    for n, (token, universal, other, entity) in enumerate(rows, start=1):
        misc = entity if entity == NOT_KNOWN else f"NER={entity}"
        lines.append(f"{n}\t{token}\t_\t{universal}\t{other}" + "\t_" * 4 + f"\t{misc}\n")
    return "".join(lines)


def _conllu_columns(example: Tagged) -> dict[str, Sequence[str] | None]:
    """The tags of a sentence by the column of CoNLL-U that they belong in."""
    if isinstance(example, TextExample):
        return {"ner": example.tags}
    main = "ner" if isinstance(example, NERExample) else "upos"
    return {**example.fields, main: example.tags}


def write_squad(examples: Iterable[QAExample], path: FilePath) -> None:
    """Write questions as SQuAD JSON; those in a row that share a context share a paragraph.

    The version is v1.1, or v2.0 if a question has no answer. `read_squad` gives equal examples
    back, except for `candidates`, which SQuAD lacks.

    Raises:
        DataError: the file cannot be written.
    """
    _check_order(examples)
    examples = list(examples)
    # Only where it is needed: a program for v1.1 may not know the field.
    may_lack_answers = not all(example.answers for example in examples)
    paragraphs = [
        {"context": context, "qas": [_squad_question(e, may_lack_answers) for e in group]}
        # groupby only joins neighbours, so the order of the questions stays.
        for context, group in groupby(examples, key=lambda example: example.context)
    ]
    version = "v2.0" if may_lack_answers else "1.1"
    squad = {"version": version, "data": [{"title": Path(path).stem, "paragraphs": paragraphs}]}
    write_atomically(path, json.dumps(squad, indent=2, ensure_ascii=False) + "\n")


def _squad_question(example: QAExample, may_lack_answers: bool) -> dict[str, Any]:
    """A question as in SQuAD, inside the paragraph that holds its context."""
    answers = [{"text": answer.text, "answer_start": answer.start} for answer in example.answers]
    question = {"id": example.id, "question": example.question, "answers": answers}
    return question | ({"is_impossible": not answers} if may_lack_answers else {})


class _Writer:
    """A form to write: its ending, the examples it can hold, and what would be lost of them."""

    def __init__(
        self,
        suffix: str,
        kinds: Any,
        write: Callable[[Any, FilePath], None],
        loses: Callable[[Any], str] = lambda example: "",
    ) -> None:
        self.suffix, self.kinds, self.write, self.loses = suffix, kinds, write, loses

    def what_is_lost(self, examples: Sequence[Any]) -> str:
        """What it cannot hold, in words; empty if it holds everything."""
        for example in examples:
            if not isinstance(example, self.kinds):
                return f"a {type(example).__name__}"
            if lost := self.loses(example):
                return lost
        return ""


def _beside_tags(example: Tagged) -> str:
    """The part of an example that columns cannot hold, which have numbers but no names."""
    if isinstance(example, TokenExample):
        named = example.fields.keys() - _numbered(example)
        if named:
            return f"the fields {', '.join(sorted(named))} of a sentence"
    if label := _label_of(example):
        return label
    return "" if example.tags is not None else "a text without tags"


def _beside_words(example: Tagged) -> str:
    if getattr(example, "inner", ()):
        return "entities inside others"
    if isinstance(example, TokenExample):
        main = "ner" if isinstance(example, NERExample) else "upos"
        others = example.fields.keys() - ({*CONLLU_FIELDS} - {main})
        return f"the fields {', '.join(sorted(others))} of a sentence" if others else ""
    return _label_of(example) or ("" if example.tokens else "a text without words")


def _label_of(example: Tagged) -> str:
    """The labels that a text has beside its words and tags; "" if it has none."""
    if not isinstance(example, TextExample):
        return ""
    labels = None if example.labels is None else list(example.labels)
    said = next((x for x in (example.label, labels, dict(example.fields)) if x), None)
    return f"the label {said!r} of a text" if said is not None or labels == [] else ""


def _beside_records(example: Example) -> str:
    if isinstance(example, NERExample):
        return f"the fields {', '.join(example.fields)} of a sentence" if example.fields else ""
    return "tags that are not those of entities" if isinstance(example, TokenExample) else ""


WRITERS = {
    "conll": _Writer(".conll", Tagged, write_conll, _beside_tags),
    "squad": _Writer(".json", QAExample, write_squad),
    "jsonl": _Writer(".jsonl", Example, write_jsonl, _beside_records),
    "conllu": _Writer(".conllu", Tagged, write_conllu, _beside_words),
}


def write_examples(examples: Sequence[Example], path: FilePath, to: str | None = None) -> None:
    """Write examples in one of the forms of `WRITERS`.

    Args:
        to: the name of the form; by default, the file's ending decides.

    Raises:
        ConfigError: an unknown form or ending, or a form that cannot hold these examples.
        DataError: a text that the form cannot hold; the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    by_ending = next((name for name, w in WRITERS.items() if w.suffix == suffix), None)
    writer = WRITERS.get(to or by_ending or "")
    # Checked before anything is written: nothing is dropped silently.
    lost = writer.what_is_lost(examples) if writer else ""
    if writer is None or lost:
        fitting = [name for name, w in WRITERS.items() if not w.what_is_lost(examples)]
        found = f"the form {to!r}" if to else f"the ending {suffix!r}"
        suffixes = [WRITERS[name].suffix for name in fitting]
        fix = f"use the ending {' or '.join(suffixes)}" if fitting else "no form holds all of it"
        raise ConfigError(
            "these examples cannot be written in this form",
            path=str(path),
            found=found + (f", which cannot hold {lost}" if lost else ""),
            fix=f"use --to {' or '.join(fitting)}" if to and fitting else fix,
        )
    writer.write(examples, path)
