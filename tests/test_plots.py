"""Figures and tables: they show the numbers they were given, and nothing stays open behind them."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

import mtl
from mtl.reports.plots import (
    plot_architecture,
    plot_attention,
    plot_confusion,
    plot_losses,
    plot_validation,
    running_mean,
)
from mtl.tables import format_table, metrics_table, scores_table, types_table
from mtl.training.history import History, Round


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    """A figure that pyplot still holds is drawn twice in a notebook, and never freed elsewhere."""
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


@pytest.fixture
def history():
    """Two epochs of three rounds; ner is 6, 5, ..., 1 and qa twice that."""
    rounds = [
        Round(
            epoch=1 + i // 3,
            step=2 * i + 2,
            total=3.0 * (6 - i),
            losses={"ner": 6.0 - i, "qa": 2 * (6.0 - i)},
            learning_rate=1e-3,
            grad_norm=1.0,
            examples={"ner": 8 * (i + 1), "qa": 8 * (i + 1)},
        )
        for i in range(6)
    ]
    validation = [
        {"ner": {"token_accuracy": 0.5, "entity_f1": 0.25}, "qa": {"exact_match": 0.125}},
        {"ner": {"token_accuracy": 0.9, "entity_f1": 0.75}, "qa": {"exact_match": 0.625}},
    ]
    return History(rounds=rounds, validation=validation, best_epoch=2)


@pytest.fixture
def model(build_model, sentences):
    ner = mtl.NERTask("ner", mtl.Dataset(train=sentences))
    return build_model([ner, mtl.QATask("questions")], d_model=32, n_heads=4, d_ff=48)


def png_size(figure):
    """Width and height in pixels of the figure as it is saved."""
    assert isinstance(figure, Figure)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=50)
    raw = image.getvalue()
    assert raw.startswith(b"\x89PNG")
    return int.from_bytes(raw[16:20]), int.from_bytes(raw[20:24])


def lines(axis):
    return [list(line.get_ydata()) for line in axis.get_lines()]


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


# --- losses ---------------------------------------------------------------------------------------


def test_losses_are_those_of_the_history(history):
    figure = plot_losses(history, window=2)
    assert [axis.get_title() for axis in figure.axes] == ["total loss", "NER loss", "QA loss"]
    ner = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    for axis, factor in zip(figure.axes, (3, 1, 2), strict=True):
        raw, mean = axis.get_lines()
        assert list(raw.get_ydata()) == [factor * loss for loss in ner]
        assert list(mean.get_ydata()) == [factor * m for m in (6.0, 5.5, 4.5, 3.5, 2.5, 1.5)]
        for line in (raw, mean):
            assert list(line.get_xdata()) == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
        assert raw.get_alpha() < 1  # pale, below the mean
        assert raw.get_color() == mean.get_color()
        assert axis.get_xlabel() == "epoch"
        assert axis.get_ylim()[0] == 0
    colours = {axis.get_lines()[0].get_color() for axis in figure.axes}
    assert len(colours) == 3
    width, height = png_size(figure)
    assert width > height > 0


def test_a_task_that_skipped_a_round_has_a_gap_there(history):
    del history.rounds[1].losses["qa"]
    raw, mean = plot_losses(history, window=2).axes[2].get_lines()
    values = list(raw.get_ydata())
    assert np.isnan(values[1])
    assert np.isfinite(values[:1] + values[2:]).all()
    assert list(mean.get_ydata())[:3] == [12.0, 12.0, 8.0]


def test_losses_of_a_run_without_rounds():
    figure = plot_losses(History())
    assert [axis.get_title() for axis in figure.axes] == ["total loss"]
    assert lines(figure.axes[0]) == [[], []]


@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=20),
    window=st.integers(1, 25),
)
def test_running_mean_is_numpys(values, window):
    means = running_mean(values, window)
    assert len(means) == len(values)
    for i, mean in enumerate(means):
        recent = np.array(values[max(0, i + 1 - window) : i + 1])
        recent = recent[~np.isnan(recent)]
        expected = recent.mean() if len(recent) else np.nan
        np.testing.assert_allclose(mean, expected, rtol=1e-9, atol=1e-7)


# --- validation -----------------------------------------------------------------------------------


def test_validation_is_that_of_the_history(history):
    figure = plot_validation(history, {"ner": "entity_f1", "qa": "exact_match"})
    (axis,) = figure.axes
    ner, qa, kept = axis.get_lines()
    assert list(ner.get_xdata()) == [1, 2]
    assert list(ner.get_ydata()) == [0.25, 0.75]
    assert list(qa.get_ydata()) == [0.125, 0.625]
    assert set(kept.get_xdata()) == {2}
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["NER entity f1", "QA exact match", "kept"]
    assert ner.get_color() != qa.get_color()
    low, high = axis.get_ylim()
    assert low == 0
    assert high >= 1
    png_size(figure)


def test_validation_draws_the_metric_that_is_asked_for(history):
    figure = plot_validation(history, {"ner": "token_accuracy"})
    assert lines(figure.axes[0])[0] == [0.5, 0.9]


def test_validation_without_a_kept_epoch(history):
    history.best_epoch = 0
    figure = plot_validation(history, {"ner": "entity_f1"})
    assert lines(figure.axes[0]) == [[0.25, 0.75]]


def test_a_task_has_one_colour_in_every_plot(history):
    losses = plot_losses(history)
    validation = plot_validation(history, {"ner": "entity_f1", "qa": "exact_match"})
    assert [axis.get_lines()[0].get_color() for axis in losses.axes[1:]] == [
        line.get_color() for line in validation.axes[0].get_lines()[:2]
    ]


# --- confusion ------------------------------------------------------------------------------------


def test_confusion_shows_every_count_where_it_belongs():
    labels = ["sports", "city", "9"]
    counts = [[12, 0, 1234], [3, 5, 0], [0, 1, 7]]
    figure = plot_confusion(counts, labels)
    (axis,) = figure.axes
    (image,) = axis.get_images()
    np.testing.assert_array_equal(image.get_array(), counts)
    shown = {text.get_position()[::-1]: text.get_text() for text in axis.texts}
    assert shown == {(i, j): f"{counts[i][j]:,}" for i in range(3) for j in range(3)}
    assert [label.get_text() for label in axis.get_yticklabels()] == labels
    assert [label.get_text() for label in axis.get_xticklabels()] == labels
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("right", "predicted")
    png_size(figure)


def test_counts_can_be_read_on_any_colour():
    (axis,) = plot_confusion([[0, 10], [4, 6]], ["a", "b"]).axes
    (image,) = axis.get_images()
    for text in axis.texts:
        column, row = text.get_position()
        background = sum(image.cmap(image.norm(image.get_array()[row, column]))[:3]) / 3
        foreground = {"white": 1, "black": 0}[text.get_color()]
        assert abs(foreground - background) > 0.4


@pytest.mark.parametrize("counts", [[[0]], [[0, 0], [0, 0]], [[1] * 12] * 12])
def test_confusion_of_any_size(counts):
    figure = plot_confusion(counts, [f"class {i}" for i in range(len(counts))])
    assert len(texts(figure)) == len(counts) ** 2
    (image,) = figure.axes[0].get_images()
    assert image.get_clim()[0] == 0  # white is no text at all
    png_size(figure)


# --- attention ------------------------------------------------------------------------------------


def test_attention_shows_the_weights(build_model, sentences, tokenizer):
    model = build_model([mtl.NERTask("ner", mtl.Dataset(train=sentences))])
    (row,) = tokenizer.rows((sentences[0].text, None), 64)
    (layer,) = model.eval().encoder.attention_maps(torch.tensor([row.input_ids]))
    weights = layer[0]  # (H, T, T), as they come: with a gradient
    tokens = tokenizer.decode(row.input_ids)
    figure = plot_attention(weights, tokens, tokens, title="layer 1")
    assert figure.get_suptitle() == "layer 1"
    assert len(figure.axes) == weights.shape[0] == 2
    for i, axis in enumerate(figure.axes):
        (image,) = axis.get_images()
        np.testing.assert_array_equal(image.get_array(), weights[i].detach().numpy())
        assert axis.get_ylabel() == f"head {i + 1}"
        assert [label.get_text() for label in axis.get_yticklabels()] == tokens
        assert image.get_clim() == (0, 1)
    named = [[label.get_text() for label in axis.get_xticklabels()] for axis in figure.axes]
    assert named[-1] == tokens
    png_size(figure)


def test_attention_of_chosen_rows():
    weights = torch.rand(3, 2, 5)
    figure = plot_attention(weights, list("abcde"), ["first", "second"])
    for i, axis in enumerate(figure.axes):
        (image,) = axis.get_images()
        np.testing.assert_array_equal(image.get_array(), weights[i].detach().numpy())
        assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "second"]
    assert len(figure.axes) == 3


# --- architecture ---------------------------------------------------------------------------------


def test_architecture_names_what_the_model_has(model):
    figure = plot_architecture(model)
    everything = "\n".join(texts(figure))
    total = sum(p.numel() for p in model.parameters())
    shared = sum(p.numel() for p in model.encoder.parameters())
    for words in (
        f"{total:,} parameters, {shared / total:.1%} of them shared",
        f"{len(model.tokenizer):,} ids",
        "encoder layer × 1",
        "4 heads of width 8",
        "width 48",
        "pre-norm",
        "sinusoidal positions",
        "segments",
        "(B, T, 32)",
    ):
        assert words in everything
    heads = [text for text in texts(figure) if "head\n" in text]
    assert heads == [
        f"{name.upper()} head\n{type(head).__name__}\n"
        f"{sum(p.numel() for p in head.parameters()):,} parameters"
        for name, head in model.heads.items()
    ]
    assert "NER head" in heads[0]
    assert "QUESTIONS head" in heads[1]
    for task in model.tasks.values():
        assert task.answers_with in texts(figure)
    png_size(figure)


def test_architecture_of_another_model(build_model):
    model = build_model([mtl.QATask("qa")], n_types=0, norm="post", positions="learned", n_layers=2)
    everything = "\n".join(texts(plot_architecture(model)))
    for words in ("encoder layer × 2", "post-norm", "learned positions"):
        assert words in everything
    assert "segments" not in everything
    assert "NER" not in everything


def test_architecture_keeps_every_text_inside_the_picture(model):
    figure = plot_architecture(model)
    png_size(figure)  # lays the texts out
    page = figure.bbox
    for text in (text for axis in figure.axes for text in axis.texts if text.get_text()):
        box = text.get_window_extent()
        sides = (page.x0 <= box.x0, box.x1 <= page.x1, page.y0 <= box.y0, box.y1 <= page.y1)
        assert all(sides), text.get_text()


# --- tables ---------------------------------------------------------------------------------------

METRICS = {
    "validation": {"ner": {"entity_f1": 0.5, "entity_f1_PER": 0.4}, "qa": {"exact_match": 0.25}},
    "test": {"ner": {"entity_f1": 1 / 3, "entity_f1_PER": 0.3}, "qa": {"exact_match": 0.125}},
    "test_unseen": {"qa": {"exact_match": 0.75}},
    "baselines": {
        "ner": {"all_o": {"entity_f1": 0.0}},
        "qa": {"random_candidate": {"exact_match": 0.1}, "most_shared_words": {"exact_match": 0.2}},
    },
}


def cells(table):
    """A table's lines as lists of cells; two blanks or more stand between them."""
    return [[cell for cell in line.split("  ") if cell.strip()] for line in table.splitlines()]


def test_format_table_lines_up():
    table = format_table(["name", "n", "share"], [["a", 12345, 0.5], ["longer", 7, 1.0]])
    header, rule, first, second = table.splitlines()
    assert header == "name        n  share"
    assert rule == "-" * len(header)
    assert first == "a       12345  0.500"
    assert second == "longer      7  1.000"


def test_format_table_leaves_a_cell_empty_and_the_column_to_the_right():
    _, _, *lines = format_table(["name", "share"], [["a", 0.5], ["b", None], ["c", -0.25]]).split(
        "\n"
    )
    assert lines == ["a      0.500", "b", "c     -0.250"]


def test_format_table_without_rows():
    assert format_table(["recipe", "what"], []).splitlines()[0].split() == ["recipe", "what"]


def test_scores_table_leaves_single_types_out():
    scores = {
        "model": {"entity_f1": 0.5, "entity_f1_PER": 0.25, "entity_recall_LOC": 0.1},
        "all_o": {"entity_f1": 0.0},
    }
    header, _, model, all_o = cells(scores_table(scores))
    assert [cell.strip() for cell in header] == ["entity f1"]
    assert [cell.strip() for cell in model] == ["model", "0.500"]
    assert [cell.strip() for cell in all_o] == ["all o", "0.000"]


def test_scores_table_has_every_score_that_any_line_has():
    """Some splits of pairs are scored, some mean the same; a line without a score stays empty."""
    scores = {
        "validation": {"accuracy_at_1": 0.75},
        "test": {"accuracy_at_1": 0.5, "spearman": 0.25},
        "test_unseen": {"spearman": -0.125},
    }
    header, _, *lines = scores_table(scores).splitlines()
    assert header.split() == ["accuracy", "at", "1", "spearman"]
    assert [line.split() for line in lines] == [
        ["validation", "0.750"],
        ["test", "0.500", "0.250"],
        ["test", "unseen", "-0.125"],
    ]
    assert lines[0].index(".") == lines[1].index(".")  # points stand below points
    assert lines[1].rindex(".") == lines[2].rindex(".")


def test_types_table():
    scores = {
        **{"entity_precision": 0.9, "entity_recall": 0.9, "entity_f1": 0.9},
        **{"entity_precision_PER": 0.1, "entity_recall_PER": 0.2, "entity_f1_PER": 0.3},
        **{"entity_precision_A_B": 0.4, "entity_recall_A_B": 0.5, "entity_f1_A_B": 0.6},
    }
    header, _, *rows = (line.split() for line in types_table(scores).splitlines())
    assert header == ["type", "precision", "recall", "F1"]
    assert rows == [["PER", "0.100", "0.200", "0.300"], ["A_B", "0.400", "0.500", "0.600"]]


def test_metrics_table_has_every_split_and_baseline():
    ner, qa = metrics_table(METRICS).split("\n\n")
    assert [line.split() for line in ner.splitlines() if "---" not in line] == [
        ["ner"],
        ["entity", "f1"],
        ["validation", "0.500"],
        ["test", "0.333"],
        ["all", "o", "(test)", "0.000"],
    ]
    assert [line.split() for line in qa.splitlines() if "---" not in line] == [
        ["qa"],
        ["exact", "match"],
        ["validation", "0.250"],
        ["test", "0.125"],
        ["test", "unseen", "0.750"],
        ["random", "candidate", "(test)", "0.100"],
        ["most", "shared", "words", "(test)", "0.200"],
    ]


def test_metrics_table_of_a_task_without_test_data():
    """A task whose test split is missing still shows what it has."""
    metrics = METRICS | {"test": {"qa": {"exact_match": 0.125}}, "baselines": {}}
    assert "ner\n" in metrics_table(metrics)


def test_metrics_table_without_any_scores():
    empty = {key: {} for key in ("validation", "test", "test_unseen", "baselines")}
    assert metrics_table(empty) == ""
