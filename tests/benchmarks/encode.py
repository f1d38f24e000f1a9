"""Examples per second of encoding, ours against `tokenizers.encode_batch` alone on the same texts.

    python tests/benchmarks/encode.py synthetic
    python tests/benchmarks/encode.py DATA [DATA ...] --tokenizer checkpoints/minilm

DATA is a file in any form that `mtl.read` knows; `synthetic` are toy texts: with a class, with a
tag for each word, and five questions about each context. Both sides take turns in one process, and
the best time of each counts. Ours, which has seen no text before, cuts, makes rows with special
tokens and windows, makes the targets, and writes all of it to a folder; then a second start maps
what is there. The other side only cuts. Without `--tokenizer`, a WordPiece vocabulary is trained on
the texts.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, trainers

import mtl
from mtl.data.encoded import EncodedExamples, encode
from mtl.data.tokenizers.subwords import BERT_TOKENS, SubwordTokenizer
from mtl.tables import format_table
from mtl.toy import ner_examples
from mtl.toy.news import news

OVERLAP = 32


def synthetic(n: int) -> dict[str, list[Any]]:
    """Texts with a class, sentences with tags, and questions, by what they are."""
    texts = [mtl.TextExample(e.text, label=e.label) for e in news("train", n)]
    parts = ner_examples("train", 3 * n)
    sentences = [
        mtl.NERExample(sum((e.tokens for e in some), ()), sum((e.tags for e in some), ()))
        for some in (parts[i : i + 3] for i in range(0, len(parts), 3))
    ]
    questions = []
    for several in (sentences[i : i + 4] for i in range(0, n, 4)):
        context = " ".join(e.text for e in several)
        for word in several[0].tokens[:5]:
            answer = mtl.Answer(word, context.index(word))
            question = f"Where is {word} in this text ?"
            questions.append(mtl.QAExample(str(len(questions)), question, context, (answer,)))
    return {"classes": texts, "tags": sentences, "questions": questions}


def task_for(examples: list[Any]) -> mtl.tasks.Task:
    """A task that learns from examples of this kind."""
    dataset = mtl.Dataset(train=examples)
    if isinstance(examples[0], mtl.QAExample):
        return mtl.QATask("task", dataset)
    if getattr(examples[0], "tags", None) is not None:
        return mtl.NERTask("task", dataset)
    return mtl.ClassificationTask("task", dataset)


def trained(texts: Sequence[Any]) -> SubwordTokenizer:
    """A WordPiece vocabulary of these texts, as BERT has one."""
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [*BERT_TOKENS.values()]
    trainer = trainers.WordPieceTrainer(
        vocab_size=8000, special_tokens=special, show_progress=False
    )
    backend.train_from_iterator((text for pair in texts for text in pair if text), trainer)
    return SubwordTokenizer(backend)


def seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def read_all(encoded: EncodedExamples) -> int:
    """The sum of all ids of all rows, so that each of them was really made."""
    return sum(int(packed.ids.sum()) for _, packed in encoded.parts)


def compare(examples: list[Any], tokenizer: SubwordTokenizer, options: Any) -> list[Any]:
    """Examples per second of both sides, their ratio, seconds to start again, bytes per token."""
    task = task_for(examples)
    texts = texts_of(examples, task)
    alone, ours, again = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        for _ in range(options.repeat):
            alone.append(
                seconds(lambda: tokenizer.backend.encode_batch(texts, add_special_tokens=False))
            )
            shutil.rmtree(cache, ignore_errors=True)
            # One that has seen no text yet.
            new = SubwordTokenizer(tokenizer.backend)
            run = partial(encode, examples, new, [task], options.max_length, OVERLAP, cache=cache)
            ours.append(seconds(lambda run=run: read_all(run())))
            again.append(seconds(run))
        n_tokens = run().n_tokens
        size = sum(path.stat().st_size for path in cache.iterdir())
    rates = [round(len(examples) / min(times)) for times in (alone, ours)]
    return [n_tokens, *rates, rates[1] / rates[0], min(again), size / n_tokens]


def texts_of(examples: list[Any], task: mtl.tasks.Task) -> list[Any]:
    """Every text, or pair of texts, as `encode_batch` takes them."""
    pairs = [pair for example in examples for pair in task.inputs_of(example)]
    return [first if second is None else (first, second) for first, second in pairs]


def machine() -> str:
    """What it runs on, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = f"tokenizers {tokenizers.__version__}, torch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {cores} cores to use, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="files, or `synthetic`")
    parser.add_argument("--tokenizer", type=Path, help="a checkpoint's folder")
    parser.add_argument("--examples", type=int, default=8000, help="synthetic ones of each kind")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    given = {}
    for data in options.data:
        given |= (
            synthetic(options.examples)
            if data == "synthetic"
            else {Path(data).name: list(mtl.read(data))}
        )
    rows = []
    for name, examples in given.items():
        tokenizer = (
            SubwordTokenizer.load(options.tokenizer)
            if options.tokenizer
            else trained([pair for example in examples for pair in example.inputs])
        )
        rows.append([name, len(examples), *compare(examples, tokenizer, options)])
    head = ["data", "examples", "tokens", "encode_batch examples/s", "ours", "ours / it"]
    print(format_table([*head, "again, s", "bytes per token"], rows))


if __name__ == "__main__":
    main()
