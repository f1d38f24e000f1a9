"""Progress bars: on stderr in a terminal, in one place of its cell in a notebook."""

import sys

import pytest
from tqdm import tqdm

from mtl.progress import NotebookBar, progress_bar

CELL = """
import logging, sys
from mtl.messages import shown
from mtl.progress import progress_bar

sys.modules["ipywidgets"] = None  # to `import`, it is not installed
with shown(True), progress_bar(progress=True, total=40, unit="row", mininterval=0) as bar:
    for i in range(40):
        bar.set_postfix_str(f"loss {i}", refresh=False)
        bar.update()
        if i == 20:
            logging.getLogger("mtl.training.loop").info("half of it is done")
with progress_bar(progress=False, total=2) as bar:
    bar.update(2)
with progress_bar(progress=True, total=2, delay=10) as bar:  # done before it would be shown
    bar.update(2)
"""


def test_without_a_notebook_the_bar_is_on_stderr(capsys):
    with progress_bar(progress=True, total=3, unit="row", mininterval=0) as bar:
        bar.update(3)
    out, err = capsys.readouterr()
    assert type(bar) is tqdm
    assert out == ""
    assert "3/3" in err


def test_without_progress_there_is_no_bar(capsys):
    with progress_bar(progress=False, total=3) as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")


def test_in_a_notebook_the_bar_is_one_output_that_ends_at_its_last_state():
    """Each state as a line of its own would fill pages of a notebook that is executed and saved."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    bar, message = notebook.cells[0].outputs
    assert bar["output_type"] == "display_data"
    assert bar["data"].keys() == {"text/plain"}
    text = bar["data"]["text/plain"]
    assert "\n" not in text
    assert text.startswith("100%|██████████| 40/40")
    assert "loss 39" in text
    assert message["text"] == "half of it is done\n"


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch):
    class Terminal:
        @staticmethod
        def get_ipython():
            return object()  # a shell without a kernel

    monkeypatch.setitem(sys.modules, "IPython", Terminal)
    assert not isinstance(progress_bar(progress=False), NotebookBar)
