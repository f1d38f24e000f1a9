"""A model and its export go in; how far their outputs and their scores differ comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..data.encoded import EncodedExample
from ..inference import encode_for, encode_labelled, predictions_of
from ..inference.inputs import queries_of
from ..inference.loop import Model, batches, in_parts
from ..tables import format_markdown, format_table
from ..tasks import Task
from ..tasks.base import score_of
from .onnx_graph import leaves

MOST_TEXTS = 64  # whose outputs are compared for each task

# Where the run has no test data: short, long, other scripts, signs, and more than one window.
TEXTS = (
    "Yes.",
    "Zelda set up Moonbase in Reykjavik.",
    "On 12 May 2008 the U.S. banks lost $3.50 (or 4%), said Dr. Ann O'Neil of Acme Corp.",
    "In der Nähe von São Paulo wohnt Renée; sie spricht 中文, हिन्दी und עברית.",
    "so-so :-( I'd   rather\nnot 👍🏽",
    "The river rose for a week before anybody in the valley thought of leaving. " * 12,
)
PAIRS = (
    ("Where does Zelda live?", "Zelda lives in Reykjavik."),
    ("A man is asleep.", "Nobody is awake, and the lamp in the hall is still on."),
    ("Who rose?", TEXTS[-1]),
)
HEADER = (
    "task",
    "largest difference",
    "texts",
    "main metric",
    "model",
    "export",
    "change",
    "examples",
)


@dataclass(frozen=True)
class Checked:
    """What the check of one task found.

    Attributes:
        difference: the largest between two outputs of its head.
        texts: on how many texts.
        metric: its main metric; "" if there is no test data.
        before, after: the score of the model and of its export.
        examples: on how many examples.
    """

    difference: float
    texts: int
    metric: str = ""
    before: float | None = None
    after: float | None = None
    examples: int = 0

    @property
    def change(self) -> float | None:
        """How much the score has changed."""
        return None if self.before is None or self.after is None else self.after - self.before

    def row(self) -> list[Any]:
        """The cells below `HEADER`, without the name of the task."""
        change = "" if self.change is None else f"{self.change:+.4f}"
        scores = [self.metric, self.before, self.after, change, self.examples or ""]
        return [f"{self.difference:.1e}", self.texts, *scores]


def check_export(
    model: Model,
    exported: Model,
    tests: Mapping[str, Sequence[Any]],
    on_error: str = "stop",
    progress: bool = False,
) -> dict[str, Checked]:
    """Compare a model with its export, task by task.

    Args:
        tests: labelled examples by task; a task without any is compared on texts of our own.
        on_error: "skip" leaves out examples that cannot be used, as in `evaluate`.
        progress: show a progress bar on stderr for scores that take long.
    """
    found = {}
    for name, task in model.tasks.items():
        if not task.labelled(tests.get(name, ())):
            encoded = encode_for(model, queries_of(PAIRS if task.reads_pairs else TEXTS))
            found[name] = Checked(largest_difference(model, exported, name, encoded), len(encoded))
            continue
        _, encoded = encode_labelled(model, name, tests[name], on_error)
        some = encoded[:MOST_TEXTS]
        difference = largest_difference(model, exported, name, some)
        before, after = (_main_score(m, task, encoded, progress) for m in (model, exported))
        found[name] = Checked(difference, len(some), *before, after[1], len(encoded))
    return found


@torch.inference_mode()
def largest_difference(
    model: Model, exported: Model, task: str, encoded: Sequence[EncodedExample]
) -> float:
    """The largest difference between two outputs of the head of a task."""
    differences = []
    # One by one: at padding, outputs mean nothing, and may differ.
    for _, batch in batches(model, encoded, 1):
        one, other = (
            in_parts(m, batch.to(m.device), lambda part, m=m: m(part, [task])[task])
            for m in (model, exported)
        )
        for ours, theirs in zip(leaves(one), leaves(other), strict=True):
            differences.append((ours.cpu() - theirs).abs().max())
    return torch.stack(differences).max().item()  # NaN if any of them is


def _main_score(
    model: Model, task: Task, encoded: Sequence[EncodedExample], progress: bool
) -> tuple[str, float]:
    said = predictions_of(model, task.name, encoded, progress)
    return task.main_score(score_of(task, *said))


def check_table(checked: Mapping[str, Checked]) -> str:
    """One line for each task, for people."""
    return format_table(HEADER, _rows(checked))


def check_markdown(checked: Mapping[str, Checked]) -> str:
    """The same as a Markdown table."""
    return format_markdown(HEADER, _rows(checked))


def _rows(checked: Mapping[str, Checked]) -> list[list[Any]]:
    return [[name, *found.row()] for name, found in checked.items()]
