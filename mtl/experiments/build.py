"""A recipe goes in; its tasks with their datasets, and its model, come out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..data.augment import augment
from ..data.dataset import Dataset
from ..data.remembered import remembered
from ..data.stored import chosen
from ..data.tokenizers.whitespace import WhitespaceTokenizer
from ..devices import is_out_of_memory
from ..errors import ConfigError, DataError
from ..inference import check_kind
from ..model import OVERLAP, MultiTaskModel
from ..nn.config import EncoderConfig
from ..nn.encoder import TransformerEncoder
from ..nn.pretrained import load_pretrained
from ..tasks import Task
from ..tasks.base import as_tasks
from ..toy import toy_dataset
from .data import read_dataset
from .recipe import Recipe, check_recipe
from .sections import DatasetRecipe

# What a recipe may say about a pretrained encoder; the checkpoint decides the rest.
FROM_RECIPE = ("max_length", "dropout", "attention_dropout")


def build_tasks(recipe: Recipe) -> list[Task]:
    """The tasks of a recipe with their datasets, toy or read from files."""
    check_recipe(recipe)
    tasks = []
    shared: dict[str, Dataset] = {}
    for name, task in recipe.tasks.items():
        task_class = Task.of_kind(task.kind)
        if task.has_own_data:
            dataset = _build_dataset(task_class, task, recipe, recipe.fields_of(name))
        # The same object: that is how tasks share batches.
        elif task.data in shared:
            dataset = shared[task.data]
        else:
            fields = recipe.fields_of(name)
            dataset = _build_dataset(task_class, recipe.datasets[task.data], recipe, fields)
            shared[task.data] = dataset
        source = recipe.source_of(name)
        check_kind(name, task_class, dataset.train, source.train)
        try:
            tasks.append(task_class(name, dataset, **task.options))
        except DataError as error:
            raise error.at(source.train or None) from None
    return tasks


def _build_dataset(
    task_class: type[Task],
    data: DatasetRecipe,
    recipe: Recipe,
    fields: Mapping[str, Sequence[str]],
) -> Dataset:
    if data.train:
        dataset = read_dataset(task_class, data, recipe, fields)
    else:
        sizes = (data.toy_train, data.toy_held_out, data.toy_held_out)
        dataset = toy_dataset(data.toy, *sizes, seed=recipe.seed)
    train = dataset.train
    n = min(data.limit or len(train), max(1, round(data.share * len(train))))
    if n < len(train):
        # Its own seed: with the recipe's alone, it would draw the same numbers as other places do.
        numbers = random.Random(f"limit {recipe.seed}").sample(range(len(train)), n)
        train = chosen(train, numbers)
    if data.augment:
        # After the limit, or changed copies of examples that were left out would come in.
        train = augment(train, data.augment, recipe.seed, data.synonyms)
    return replace(dataset, train=train)


def build_model(recipe: Recipe, tasks: list[Task]) -> MultiTaskModel:
    """A model with fresh heads for the tasks; its encoder is fresh too, or pretrained.

    The vocabulary of a fresh encoder is the words of the tasks' training texts. A pretrained one
    comes with its own vocabulary and shape; from the recipe it takes `FROM_RECIPE`.
    """
    check_recipe(recipe)
    tasks = as_tasks(tasks)
    # Whatever was drawn before, the same recipe and seed start with the same weights.
    torch.manual_seed(recipe.seed)
    if recipe.encoder.get("pretrained"):
        options = {k: value for k, value in recipe.encoder_shape.items() if k in FROM_RECIPE}
        encoder, tokenizer = load_pretrained(recipe.encoder["pretrained"], **options)
    else:
        datasets = {id(task.dataset): task.dataset for task in tasks}  # a shared one counts once
        tokenizer = _train_tokenizer(list(datasets.values()), recipe.tokenizer)
        config = EncoderConfig(vocab_size=len(tokenizer), **recipe.encoder_shape)
        encoder = _fresh_encoder(config)
    names = {task.name for task in tasks}  # they may be some of the recipe's
    own = {name: task for name, task in recipe.tasks.items() if name in names}
    return MultiTaskModel(
        encoder,
        tokenizer,
        tasks,
        overlap=recipe.encoder.get("overlap", OVERLAP),
        adapters={name: task.adapter for name, task in own.items()},
        adapter_config=recipe.adapters,
        task_embeddings=[name for name, task in own.items() if task.task_embedding],
        **recipe.model,
    )


def _train_tokenizer(datasets: list[Dataset], options: dict[str, Any]) -> WhitespaceTokenizer:
    def count() -> dict[str, int]:
        texts = (text for dataset in datasets for text in dataset.training_texts())
        return WhitespaceTokenizer.train(texts, **options).counts

    question = f"the vocabulary, {sorted(options.items())}"
    counts = remembered([dataset.train for dataset in datasets], question, count)
    others = {name: value for name, value in options.items() if name != "min_count"}
    return WhitespaceTokenizer(counts, **others)


def _fresh_encoder(config: EncoderConfig) -> TransformerEncoder:
    try:
        return TransformerEncoder(config)
    except (MemoryError, RuntimeError) as error:
        # If even the number of bytes is too large for torch, it reports an overflow.
        if not is_out_of_memory(error) and "overflow" not in str(error):
            raise
        sizes = ("d_model", "d_ff", "n_layers", "max_length", "n_types")
        raise ConfigError(
            "there is not enough memory for an encoder of this shape",
            found=", ".join(f"encoder.{size} {getattr(config, size)}" for size in sizes),
            fix="lower the largest of them",
        ) from None
