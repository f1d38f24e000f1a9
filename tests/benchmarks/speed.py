"""Tokens per second of training and of prediction, ours against `torch.nn.TransformerEncoder`.

    python tests/benchmarks/speed.py

Both models have the same shape, sinusoidal positions, heads, batches and optimiser, and run in one
process, taking turns; what counts is the ratio, since absolute times vary with the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import mtl
from mtl.data.batching import Batch, sorted_batches
from mtl.data.encoded import encode_examples
from mtl.nn.attention import sinusoidal_positions
from mtl.tables import format_table
from mtl.training.loop import Run

SHAPES = {
    "practical7 (3 x 64)": {"n_layers": 3, "d_model": 64, "n_heads": 4, "d_ff": 128},
    "wider (4 x 256)": {"n_layers": 4, "d_model": 256, "n_heads": 8, "d_ff": 1024},
}


class TorchEncoder(nn.Module):
    """The same architecture, its layers from PyTorch."""

    def __init__(self, config: mtl.EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.type_embedding = nn.Embedding(config.n_types, config.d_model)
        table = sinusoidal_positions(config.max_length, config.d_model)
        self.register_buffer("position_table", table)
        layer = nn.TransformerEncoderLayer(
            config.d_model,
            config.n_heads,
            config.feed_forward_width,
            config.dropout,
            config.activation,
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config.n_layers, nn.LayerNorm(config.d_model), enable_nested_tensor=False
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        x = self.token_embedding(input_ids) + self.type_embedding(token_type_ids)
        x = x + self.position_table[: input_ids.shape[1]]
        return self.layers(x, src_key_padding_mask=~attention_mask)


def build(shape: dict[str, int], tasks: Sequence[mtl.tasks.Task]) -> tuple[mtl.MultiTaskModel, ...]:
    """Our model, and the one with PyTorch's layers."""
    texts = (text for task in tasks for text in task.dataset.training_texts())
    tokenizer = mtl.WhitespaceTokenizer.train(texts)
    config = mtl.EncoderConfig(len(tokenizer), positions="sinusoidal", dropout=0.0, **shape)
    encoders = mtl.TransformerEncoder(config), TorchEncoder(config)
    return tuple(mtl.MultiTaskModel(encoder, tokenizer, tasks) for encoder in encoders)


def take_turns(actions: Sequence[Callable[[], None]], rounds: int) -> list[list[float]]:
    """Seconds of each action in each round, after two rounds that are not counted."""
    seconds: list[list[float]] = [[] for _ in actions]
    for i in range(rounds + 2):
        for action, times in zip(actions, seconds, strict=True):
            start = time.perf_counter()
            action()
            if i >= 2:
                times.append(time.perf_counter() - start)
    return seconds


def training_action(model: mtl.MultiTaskModel, tasks: Sequence[mtl.tasks.Task], rounds: int):
    """What trains `rounds` rounds, on the same batches for every model."""
    run = Run(model, tasks, mtl.TrainConfig(epochs=1000), mtl.training.FixedWeighting())
    start = [stream.state_dict() for stream in run.streams]

    def action() -> None:
        for stream, state in zip(run.streams, start, strict=True):
            stream.load_state_dict(state)
        for _ in range(rounds):
            run.round()

    return action


def prediction_action(model: mtl.MultiTaskModel, batches: Sequence[Batch]):
    """What runs encoder and heads over some batches."""

    def action() -> None:
        model.eval()
        with torch.inference_mode():
            for batch in batches:
                model(batch, ["qa"])

    return action


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=20, help="training rounds a repeat")
    options = parser.parse_args()
    torch.manual_seed(0)
    tasks = [
        mtl.NERTask("ner", mtl.toy_dataset("ner", 640)),
        mtl.QATask("qa", mtl.toy_dataset("qa", 640)),
    ]
    table = []
    for name, shape in SHAPES.items():
        models = build(shape, tasks)
        encoded, _ = encode_examples(tasks[1].dataset.train, models[0].tokenizer, [], 128)
        batches = [batch for _, batch in sorted_batches(encoded, models[0].tokenizer, 32)]
        predicted = sum(int(batch.attention_mask.sum()) for batch in batches)
        actions = {
            "training": (
                training_tokens(models[0], tasks, options.rounds),
                [training_action(model, tasks, options.rounds) for model in models],
            ),
            "prediction": (predicted, [prediction_action(model, batches) for model in models]),
        }
        for what, (tokens, pair) in actions.items():
            ours, theirs = take_turns(pair, options.repeats)
            ratios = sorted(t / o for o, t in zip(ours, theirs, strict=True))
            table.append(
                [
                    name,
                    what,
                    f"{tokens / statistics.median(ours):,.0f}",
                    f"{tokens / statistics.median(theirs):,.0f}",
                    f"{statistics.median(ratios):.2f}",
                    f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                ]
            )
    print(f"tokens per second, {torch.get_num_threads()} threads, torch {torch.__version__}")
    header = ["model", "", "mtl", "torch.nn", "ratio (median)", "ratio (range)"]
    print(format_table(header, table))


def training_tokens(model: mtl.MultiTaskModel, tasks: Sequence[mtl.tasks.Task], rounds: int) -> int:
    """Tokens (without padding) in the batches of `training_action`."""
    run = Run(model, tasks, mtl.TrainConfig(epochs=1000), mtl.training.FixedWeighting())
    batches = [stream.next() for _ in range(rounds) for stream in run.streams]
    return sum(int(batch.attention_mask.sum()) for batch in batches)


if __name__ == "__main__":
    main()
