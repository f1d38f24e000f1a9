"""Files in, examples out, and back.

CoNLL columns for entities, SQuAD JSON or tables for questions, JSON records for labelled texts and
for pairs of sentences.

A reader looks at the whole file before it complains: every fault is collected, with its line and
what to do about it, and all are raised together. With `on_error="skip"` the bad records are left
out instead, and a `DataWarning` says how many.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...files import write_atomically
from ..examples import NERExample, PairExample, QAExample, TextExample
from .columns import read_conll, write_conll
from .pairs import read_pairs
from .records import read_jsonl
from .source import FilePath, read_text
from .squad import read_squad, squad_question, write_squad

Example = NERExample | QAExample | TextExample | PairExample


def write_jsonl(examples: Iterable[Example], path: FilePath) -> None:
    """Write one JSON object a line, with the fields that `read_jsonl` and `read_pairs` read; of a
    QAExample `id`, `question`, `context` and `answers`.

    Raises:
        DataError: the file cannot be written.
    """
    records = (json.dumps(_json_record(example), ensure_ascii=False) for example in examples)
    write_atomically(path, "".join(f"{record}\n" for record in records))


def _json_record(example: Example) -> dict[str, Any]:
    match example:
        case NERExample():
            record = {"sentence": example.text, "tokens": example.tokens, "ner_tags": example.tags}
        case TextExample():
            record = {"sentence": example.text, "tokens": example.tokens or None}
            record |= {"label": example.label, "ner_tags": example.tags}
        case PairExample():
            record = {"sentence1": example.first, "sentence2": example.second}
            record |= {"score": example.score}
        case QAExample():
            record = squad_question(example)
            record |= {"context": example.context, "answers": record.pop("answers")}
    return {key: value for key, value in record.items() if value is not None}


def write_examples(examples: Sequence[Example], path: FilePath) -> None:
    """Write examples in the format that the file's ending names.

    Raises:
        ConfigError: an ending that no format has, or one that cannot hold these examples.
        DataError: the file cannot be written.
    """
    writers = {
        ".conll": (NERExample, write_conll),
        ".json": (QAExample, write_squad),
        ".jsonl": (Example, write_jsonl),
    }
    suffix = Path(path).suffix.lower()
    holds, write = writers.get(suffix, ((), None))
    if write is None or not all(isinstance(example, holds) for example in examples):
        fitting = [
            s for s, (kinds, _) in writers.items() if all(isinstance(e, kinds) for e in examples)
        ]
        raise ConfigError(
            "these examples cannot be written in the format that the file's ending names",
            path=str(path),
            found=f"the ending {suffix!r}",
            fix=f"use the ending {' or '.join(fitting)}",
        )
    write(examples, path)


__all__ = [
    "read_conll",
    "read_jsonl",
    "read_pairs",
    "read_squad",
    "read_text",
    "write_conll",
    "write_examples",
    "write_jsonl",
    "write_squad",
]
