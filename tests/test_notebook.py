"""The notebook: what is committed is fit to be read, and all of it runs."""

import json
import re
import shutil
from pathlib import Path

import pytest

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
        lines = "".join(text for output in printed for text in output["text"]).splitlines()
        assert len(printed) <= 2, f"{len(printed)} pieces of output; {HOW_TO_RUN}:\n{source(cell)}"
        assert len(lines) <= 40, f"{len(lines)} lines of output:\n{source(cell)}"


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


@pytest.mark.slow
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
