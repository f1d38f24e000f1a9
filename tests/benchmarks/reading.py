"""Seconds to read, check and encode records of real size: python tests/benchmarks/reading.py

8,000 records of about 50 words with a label and tags, as JSON lines in a temporary file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mtl
from mtl.data.encoded import encode_examples
from mtl.tables import format_table
from mtl.toy.news import news

TEXTS_A_RECORD = 3


def records(n: int) -> list[mtl.TextExample]:
    """News in threes: about 50 words each, 57 with punctuation marks."""
    texts = news("train", n * TEXTS_A_RECORD)
    groups = [texts[i : i + TEXTS_A_RECORD] for i in range(0, len(texts), TEXTS_A_RECORD)]
    return [
        mtl.TextExample(
            " ".join(e.text for e in group),
            tuple(token for e in group for token in e.tokens),
            group[0].label,
            tuple(tag for e in group for tag in e.tags),
        )
        for group in groups
    ]


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    started = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=8000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "news.jsonl"
        mtl.write_jsonl(records(options.n), path)
        examples, reading = timed(mtl.read_jsonl, path)
        _, checking = timed(mtl.check_file, path)
    dataset = mtl.Dataset(train=examples)
    tasks = [mtl.ClassificationTask("topic", dataset), mtl.NERTask("ner", dataset)]
    tokenizer, training = timed(mtl.WhitespaceTokenizer.train, dataset.training_texts())
    _, encoding = timed(encode_examples, examples, tokenizer, tasks, 128)
    words = sum(len(example.tokens) for example in examples) / len(examples)
    print(f"{len(examples):,} records of {words:.0f} words and signs on average")
    steps = {"read": reading, "check": checking, "vocabulary": training, "encode": encoding}
    print(format_table(["", "seconds"], [*steps.items(), ("all", sum(steps.values()))]))


if __name__ == "__main__":
    main()
