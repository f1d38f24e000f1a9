"""Results go in; plain text tables come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BUDGETS = ("per task", "total")  # of the training that a single-task model gets in a comparison


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns side by side: numbers with three decimals on the right, text on the left.

    None leaves a cell empty.
    """
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    numeric = [all(_is_numeric(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
            # The padding of the last column would only be blanks at the ends of lines.
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The same cells as a Markdown table."""
    cells = [list(header), ["---"] * len(header), *([_cell(v) for v in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def tab_separated(rows: Iterable[Sequence[str]]) -> str:
    """One line for each row, with tabs between its cells."""
    # A tab or a line break inside a text would look like the next cell or row.
    lines = ["\t".join(" ".join(cell.split()) for cell in row) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def metrics_table(metrics: dict[str, Any]) -> str:
    """What `metrics.json` holds, for people: each task's splits next to its trivial baselines."""
    tables = []
    tasks = metrics["validation"] | metrics["test"] | metrics["test_unseen"]
    for task in tasks:
        splits = {
            name: metrics[name][task]
            for name in ("validation", "test", "test_unseen")
            if task in metrics[name]
        }
        scores = splits | {
            f"{name} (test)": values for name, values in metrics["baselines"].get(task, {}).items()
        }
        tables.append(f"{task}\n{scores_table(scores)}")
    return "\n\n".join(tables)


def scores_table(scores: dict[str, dict[str, float]]) -> str:
    """One line for each set of metrics; metrics of single types are left out."""
    all_names = dict.fromkeys(name for values in scores.values() for name in values)
    names = [name for name in all_names if not is_of_one_type(name)]
    rows = [[_words(label), *map(values.get, names)] for label, values in scores.items()]
    return format_table(["", *map(_words, names)], rows)


def types_table(scores: dict[str, float]) -> str:
    """Precision, recall and F1 of each type, from metrics such as `entity_f1_PER`."""
    prefix = "entity_f1_"
    types = [
        name.removeprefix(prefix)
        for name in scores
        if name.startswith(prefix) and is_of_one_type(name)
    ]
    rows = [
        [kind, *(scores[f"entity_{name}_{kind}"] for name in ("precision", "recall", "f1"))]
        for kind in types
    ]
    return format_table(["type", "precision", "recall", "F1"], rows)


def is_of_one_type(metric: str) -> bool:
    """Whether a metric counts one entity type only, as `entity_f1_PER` does."""
    prefixes = ("entity_precision_", "entity_recall_", "entity_f1_")
    return metric.startswith(prefixes) and metric != "entity_f1_plain_text"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _is_numeric(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def without_repeats(summary: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out repeats: with joint steps both budgets give the same single-task models."""
    shortest = min(row["control_rounds"] for row in summary)
    return [r for r in summary if r["budget"] == BUDGETS[0] or r["control_rounds"] > shortest]
