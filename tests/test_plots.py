"""Figures and tables: they show the numbers they were given, and nothing stays open behind them."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

import mtl
from mtl.errors import ConfigError
from mtl.plots import (
    plot_attention,
    plot_comparison,
    plot_conflict,
    plot_confusion,
    plot_losses,
    plot_runs,
    plot_validation,
    plot_weights,
)
from mtl.reports.curves import running_mean
from mtl.tables import format_table, metrics_table, scores_table, types_table
from mtl.training.history import Conflict, History, Round


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
    figure = plot_losses(history, window=3)
    assert [axis.get_title() for axis in figure.axes] == ["total loss", "NER loss", "QA loss"]
    ner = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    for axis, factor in zip(figure.axes, (3, 1, 2), strict=True):
        raw, mean = axis.get_lines()
        assert list(raw.get_ydata()) == [factor * loss for loss in ner]
        assert list(mean.get_ydata()) == [factor * m for m in running_mean(ner, window=3)]
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
    raw, mean = plot_losses(history, window=3).axes[2].get_lines()
    values = list(raw.get_ydata())
    assert np.isnan(values[1])
    assert np.isfinite(values[:1] + values[2:]).all()
    assert list(mean.get_ydata())[:3] == [12.0, (12 + 8) / 2, (8 + 6) / 2]


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
        reach = window // 2
        near = np.array(values[max(0, i - reach) : i + reach + 1])
        near = near[~np.isnan(near)]
        expected = near.mean() if len(near) else np.nan
        np.testing.assert_allclose(mean, expected, rtol=1e-9, atol=1e-7)


@given(window=st.integers(1, 25))
def test_running_mean_does_not_lag(window):
    """A mean of what came before alone would lie above a falling line."""
    line = [20.0 - i for i in range(20)]
    whole = slice(window // 2, 20 - window // 2)  # where the window is whole
    assert running_mean(line, window)[whole] == pytest.approx(line[whole])


# --- several runs ---------------------------------------------------------------------------------


def test_runs_are_drawn_over_each_other_with_levels(history):
    other = History(rounds=history.rounds[:3])
    figure = plot_runs({"long": history, "short": other}, "qa", {"a guess": 2.5, "half": 1.5}, 1)
    (axis,) = figure.axes
    assert lines(axis)[:4:2] == [[12.0, 10.0, 8.0, 6.0, 4.0, 2.0], [12.0, 10.0, 8.0]]
    assert [set(level) for level in lines(axis)[4:]] == [{2.5}, {1.5}]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["long", "short"]
    colours = {line.get_color() for line in axis.get_lines()}
    assert len(colours) == 3  # two runs, and grey
    # The colours of tasks mean tasks.
    assert not colours & {axis.get_lines()[0].get_color() for axis in plot_losses(history).axes}
    png_size(figure)
    for text in axis.texts:
        assert text.get_window_extent().x0 >= axis.bbox.x1, "a name lies over the curves"
        assert text.get_window_extent().x1 <= figure.bbox.x1, "a name is cut off"


def test_runs_without_the_task_are_refused(history):
    with pytest.raises(
        ConfigError, match=r"the run 'a' has no losses of this task(.|\n)*mean \"qa\""
    ):
        plot_runs({"a": history}, "qaa")
    with pytest.raises(ConfigError, match="no runs to draw"):
        plot_runs({}, "qa")


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


def test_no_legend_lies_over_a_curve(history):
    for figure in (
        plot_validation(history, {"ner": "entity_f1", "qa": "exact_match"}),
        plot_runs({"one": history}, "qa"),
        plot_weights(history),
    ):
        png_size(figure)  # lays it out
        (axis,) = figure.axes
        assert axis.get_legend().get_window_extent().y0 >= axis.bbox.y1


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
    axis, _ = figure.axes  # and the scale of the colours
    (image,) = axis.get_images()
    sums = np.sum(counts, axis=1, keepdims=True)
    np.testing.assert_array_equal(image.get_array(), counts / sums)
    shown = {text.get_position()[::-1]: text.get_text() for text in axis.texts}
    for (i, j), share in np.ndenumerate(counts / sums):
        assert shown.pop((i, j)) == f"{counts[i][j]:,}\n{share:.0%}"
    assert not shown
    assert [label.get_text() for label in axis.get_yticklabels()] == labels
    assert [label.get_text() for label in axis.get_xticklabels()] == labels
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("true", "predicted")
    png_size(figure)


def test_counts_can_be_read_on_any_colour():
    axis, _ = plot_confusion([[0, 10], [4, 6]], ["a", "b"]).axes
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
    assert image.get_clim() == (0, 1)  # white is no text at all, dark is all of the row
    png_size(figure)


def test_chance_looks_pale_and_frequency_does_not_matter():
    """On a scale of counts, a frequent class of which a third is right looks like success."""
    (image,) = plot_confusion([[300, 300, 300], [0, 3, 0], [1, 1, 1]], "abc").axes[0].get_images()
    shown = image.norm(image.get_array())
    np.testing.assert_allclose(shown, [[1 / 3] * 3, [0, 1, 0], [1 / 3] * 3])


# --- attention ------------------------------------------------------------------------------------


def test_attention_shows_the_weights(build_model, sentences, tokenizer):
    model = build_model([mtl.NERTask("ner", mtl.Dataset(train=sentences))])
    (row,) = tokenizer.rows((sentences[0].text, None), 64)
    (layer,) = model.eval().encoder.attention_maps(torch.tensor([row.input_ids]))
    weights = layer[0]  # (H, T, T), as they come: with a gradient
    tokens = tokenizer.decode(row.input_ids)
    figure = plot_attention(weights, tokens, tokens, title="layer 1")
    assert figure.get_suptitle() == "layer 1"
    *heads, _ = figure.axes  # and the scale of the colours
    assert len(heads) == weights.shape[0] == 2
    for i, axis in enumerate(heads):
        (image,) = axis.get_images()
        np.testing.assert_array_equal(image.get_array(), weights[i].detach().numpy())
        assert axis.get_ylabel() == f"head {i + 1}"
        assert [label.get_text() for label in axis.get_yticklabels()] == tokens
        assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in heads[-1].get_xticklabels()] == tokens
    png_size(figure)


def test_attention_of_chosen_rows():
    weights = torch.rand(3, 2, 5)
    figure = plot_attention(weights, list("abcde"), ["first", "second"])
    *heads, _ = figure.axes
    for i, axis in enumerate(heads):
        (image,) = axis.get_images()
        np.testing.assert_array_equal(image.get_array(), weights[i].detach().numpy())
        assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "second"]
    assert len(heads) == 3


# --- conflict, weights and comparison -------------------------------------------------------------


def test_conflict_is_pale_where_a_task_is_learned():
    """The cosine of a loss near 0 is chance, and must not look like a finding."""
    nothing = Conflict({"all": 0.1}, {"all": 2.0})
    rounds = [
        Round(1, i + 1, 1.0, {"ner": loss, "qa": 3.0}, 1e-3, 1.0, {"ner": 8, "qa": 8},
              conflict={"ner/qa": nothing})
        for i, loss in enumerate([1.0, 0.5, 0.04, 0.01, 0.2])
    ]  # fmt: skip
    for axis in plot_conflict(History(rounds=rounds), window=1).axes:
        (veil,) = axis.collections
        (path,) = veil.get_paths()
        assert sorted(set(path.vertices[:, 0])) == [3, 4]  # steps
        assert veil.get_zorder() > max(line.get_zorder() for line in axis.lines)


DIFFERENCE = {
    "task": "qa", "metric": "exact_match", "method": "fixed", "size": "", "budget": "per task",
    "control_rounds": 10, "difference": 0.25, "difference_interval": [0.125, 0.375],
}  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "clear"),
    [([0.1, 0.4], True), ([-0.4, -0.1], True), ([-0.1, 0.4], False), (None, False)],
)
def test_an_interval_that_excludes_0_stands_out(interval, clear):
    figure = plot_comparison([DIFFERENCE | {"difference_interval": interval}])
    bars = [line for line in figure.axes[0].lines if list(line.get_xdata()) == interval]
    assert len(bars) == (interval is not None)
    assert [bar.get_linewidth() > 2 for bar in bars] == [clear] * len(bars)
    assert f"{int(clear)} of the intervals exclude 0" in figure.alt


# --- pictures in a notebook -----------------------------------------------------------------------


def test_a_notebook_gets_the_picture_with_its_description(history):
    figure = plot_losses(history, window=1)
    data, about = figure._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == about["image/png"]["alt"] == figure.alt
    assert figure.alt == (
        "Loss curves: the total loss falls from 18.00 to 3.00, the NER loss falls from 6.00 to "
        "1.00 and the QA loss falls from 12.00 to 2.00."
    )


def test_the_description_reaches_the_html_of_a_notebook(history):
    """Through Jupyter's own formatter into nbconvert's template, as a reader's browser gets it."""
    nbformat = pytest.importorskip("nbformat")
    nbconvert = pytest.importorskip("nbconvert")
    from IPython.core.formatters import DisplayFormatter

    figure = plot_losses(history)
    data, metadata = DisplayFormatter().format(figure)
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("mtl.plots.plot_losses(history)", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    html, _ = nbconvert.HTMLExporter(template_name="classic").from_notebook_node(notebook)
    assert f'alt="{figure.alt}"' in html


def test_descriptions_say_what_the_data_say(history):
    figure = plot_validation(history, {"ner": "entity_f1", "qa": "exact_match"})
    assert figure.alt == (
        "Validation scores over 2 epochs: NER entity f1 rises from 0.25 to 0.75, QA exact match "
        "rises from 0.12 to 0.62 and epoch 2 was kept."
    )
    assert "Predicted as what they are: a 90%, b 0%." in plot_confusion([[9, 1], [4, 0]], "ab").alt
    weights = torch.tensor([[[0.25, 0.75], [1.0, 0.0]]])
    assert plot_attention(weights, ["x", "y"], ["layer 1", "layer 2"]).alt == (
        "Attention. Head 1: layer 1 most at 'y' (0.75), layer 2 most at 'x' (1.00)."
    )
    assert plot_runs({"a": history}, "ner", {"ln 4": 1.386}, window=1).alt == (
        "The NER loss: with a it falls from 6.00 to 1.00. Grey lines at 1.39 (ln 4)."
    )
    assert "was not measured" in plot_losses(History()).alt


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
