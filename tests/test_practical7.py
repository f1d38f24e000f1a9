"""The practical as a whole: its notebook runs, and its recipe reaches what it promises.

Both train the same model, to the last bit, so it is trained once: by the notebook.
"""

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.training.config import TrainConfig
from mtl.training.run import Run

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "practical7.ipynb"
HOW_TO_RUN = "docs/CONTRIBUTING.md says how to run the notebook afresh"


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


def test_the_committed_outputs_are_no_pages_of_progress(code):
    """A progress bar overwrites itself on a screen; what is left of it is its last line."""
    for cell in code:
        printed = [output for output in cell["outputs"] if output["output_type"] == "stream"]
        text = "".join(line for output in printed for line in output["text"])
        assert "\r" not in text, f"{HOW_TO_RUN}:\n{source(cell)}"
        assert text.count("\n") <= 40, source(cell)


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

# A cell that is added at the end: what the notebook trained on, how, and how well.
TELL = """
import hashlib
import json
from dataclasses import asdict

splits = ("train", "validation", "test", "test_unseen")
data = repr([task.dataset.split(split) for task in (ner, qa) for split in splits])
print(json.dumps({
    "data": hashlib.sha256(data.encode()).hexdigest(),
    "config": asdict(train_config),
    "losses": [done.losses for done in history.rounds],
    "metrics": metrics,
}))
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook, run as it is committed; `told` is what the cell above prints."""
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    tell = nbformat.v4.new_code_cell(TELL)
    notebook.cells.append(tell)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
        coalesce_streams=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        client.execute()  # raises CellExecutionError at the first cell that fails
    notebook.cells.pop()
    notebook.told = json.loads(tell.outputs[0].text)
    return notebook


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not [output for output in cell.outputs if output.output_type == "error"]


# --- the recipe -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_notebook_trains_what_the_recipe_says(notebook):
    """The same data and settings, and the first losses to the last bit: so all that follows is."""
    recipe = load_recipe("practical7")
    tasks = build_tasks(recipe)
    splits = ("train", "validation", "test", "test_unseen")
    data = repr([task.dataset.split(split) for task in tasks for split in splits])
    assert notebook.told["data"] == hashlib.sha256(data.encode()).hexdigest()

    config = TrainConfig(**recipe.train)
    changed_nothing = {"conflict_every": config.conflict_every}  # as test_conflict.py shows
    assert notebook.told["config"] | changed_nothing == json.loads(json.dumps(asdict(config)))

    assert recipe.seed == 0
    run = Run(build_model(recipe, tasks), tasks, config)
    for losses in notebook.told["losses"][:30]:
        run.round()
        assert run.history.rounds[-1].losses == losses
    # It ends early, with a whole epoch: half of the 1,000 rounds are enough.
    assert len(notebook.told["losses"]) % recipe.train["rounds"] == 0
    assert len(notebook.told["losses"]) <= 500


@pytest.mark.slow
@pytest.mark.parametrize(("split", "bar"), [("test", 0.98), ("test_unseen", 0.95)])
@pytest.mark.parametrize(("task", "metric"), [("ner", "entity_f1"), ("qa", "exact_match")])
def test_the_recipe_reaches_its_bars(notebook, split, bar, task, metric):
    assert notebook.told["metrics"][split][task][metric] >= bar


@pytest.mark.slow
@pytest.mark.parametrize(
    "baseline", ["random_candidate", "most_shared_words", "model_with_other_question"]
)
def test_nothing_but_reading_the_question_answers_it(notebook, baseline):
    assert notebook.told["metrics"]["baselines"]["qa"][baseline]["exact_match"] <= 0.45


@pytest.mark.slow
def test_the_all_o_baseline_shows_why_token_accuracy_misleads(notebook):
    all_o = notebook.told["metrics"]["baselines"]["ner"]["all_o"]
    assert all_o["entity_f1"] == 0
    assert all_o["token_accuracy"] > 0.5
