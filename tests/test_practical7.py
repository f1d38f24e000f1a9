"""The practical as a whole: its notebook runs, and its recipe reaches what it promises."""

import json
import re
import shutil
from pathlib import Path

import pytest

from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "practical7.ipynb"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def committed():
    """The notebook's cells as they are committed."""
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


@pytest.fixture
def code(committed):
    return [cell for cell in committed if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


# --- the notebook as it is committed --------------------------------------------------------------


def test_every_code_cell_ran_once_from_top_to_bottom(code):
    assert code
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


def test_the_committed_outputs_are_there_and_free_of_errors(code):
    outputs = [output for cell in code for output in cell["outputs"]]
    kinds = {mime for output in outputs for mime in output.get("data", {})}
    assert {"text/plain", "image/png", "text/html"} <= kinds  # numbers, plots, marked predictions
    for cell in code:
        for output in cell["outputs"]:
            assert output["output_type"] != "error", source(cell)
            text = json.dumps(output)
            for bad in ("Traceback", "Warning:"):
                assert bad not in text, source(cell)


def test_code_cells_are_short(code):
    long = [source(cell) for cell in code if len(source(cell).strip().splitlines()) > 15]
    assert not long, f"{len(long)} cells of more than 15 lines; the first:\n{long[:1]}"


def test_the_notebook_redefines_nothing_the_package_has(code):
    import mtl

    defined = {
        name for cell in code for name in re.findall(r"^(?:def|class) (\w+)", source(cell), re.M)
    }
    assert not defined & set(mtl.__all__)


# --- the notebook anew ----------------------------------------------------------------------------


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()  # raises CellExecutionError at the first cell that fails
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not [output for output in cell.outputs if output.output_type == "error"]


# --- the recipe -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("practical7") / "run"
    return run_recipe(load_recipe("practical7"), folder, progress=False)


@pytest.mark.parametrize(("split", "bar"), [("test", 0.98), ("test_unseen", 0.95)])
@pytest.mark.parametrize(("task", "metric"), [("ner", "entity_f1"), ("qa", "exact_match")])
def test_the_recipe_reaches_its_bars(metrics, split, bar, task, metric):
    assert metrics["seed"] == 0
    assert metrics[split][task][metric] >= bar


@pytest.mark.parametrize(
    "baseline", ["random_candidate", "most_shared_words", "model_with_other_question"]
)
def test_nothing_but_reading_the_question_answers_it(metrics, baseline):
    assert metrics["baselines"]["qa"][baseline]["exact_match"] <= 0.45


def test_the_all_o_baseline_shows_why_token_accuracy_misleads(metrics):
    all_o = metrics["baselines"]["ner"]["all_o"]
    assert all_o["entity_f1"] == 0
    assert all_o["token_accuracy"] > 0.5
