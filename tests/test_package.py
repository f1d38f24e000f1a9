"""What is shipped: the wheel, the names, the words, and what an import does not do."""

import ast
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mtl

ROOT = Path(__file__).parents[1]
PACKAGE = Path(mtl.__file__).parent
CAN_SERVE = importlib.util.find_spec("fastapi") is not None
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(mtl.__path__, "mtl.")
    if module.name != "mtl.__main__"  # which runs the command line
    and (CAN_SERVE or not module.name.startswith("mtl.serve."))
]

# What DESIGN promises to those who `import mtl`, as far as it is there.
PROMISED = {
    *("read_conll", "read_squad", "read_jsonl", "WhitespaceTokenizer", "TransformerEncoder"),
    *("EncoderConfig", "NERTask", "QATask", "ClassificationTask", "EmbeddingTask", "Dataset"),
    *("MultiTaskModel", "train", "TrainConfig", "evaluate", "predict", "answer", "encode"),
    *("entity_f1", "exact_match", "token_f1"),
}


def python(*arguments, cwd, **environment):
    """Run Python in a process of its own; gives what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the wheel ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "mtl", source / "mtl", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    python("-m", "pip", "wheel", *options, "--wheel-dir", folder, source, cwd=folder)
    (path,) = folder.glob("mtl-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds nothing but what the wheel holds."""
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_holds_every_module_and_every_data_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("mtl/")}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert names == {f"mtl/{path.relative_to(PACKAGE).as_posix()}" for path in files}
    for recipe in ("practical7", "jsonl", "news-ner", "sentence-embeddings", "intents"):
        assert f"mtl/experiments/recipes/{recipe}.toml" in names
    assert {name for name in names if name.startswith("mtl/toy/handmade/")} == {
        *("mtl/toy/handmade/ner.conll", "mtl/toy/handmade/qa.json")
    }


def test_the_wheel_says_what_it_is_and_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        assert any(n.endswith("LICENSE") for n in archive.namelist())
    assert f"Version: {mtl.__version__}" in text
    assert "Requires-Python: >=3.11" in text
    needed = [line for line in text.splitlines() if line.startswith("Requires-Dist: ")]
    core = {re.split(r"[ >=<]", line)[1] for line in needed if "extra ==" not in line}
    assert core == {"torch", "numpy", "matplotlib", "tqdm", "safetensors"}


def test_the_wheel_works_where_the_checkout_is_not(installed, tmp_path):
    """PYTHONPATH comes before an editable install, and the folder is another."""
    alone = {"PYTHONPATH": str(installed), "PYTHONNOUSERSITE": "1"}
    where = python("-c", "import mtl; print(mtl.__file__)", cwd=tmp_path, **alone).strip()
    assert Path(where).is_relative_to(installed)
    assert "practical7" in python("-m", "mtl", "recipes", cwd=tmp_path, **alone)
    look = (
        "import mtl\n"
        "print(len(mtl.toy.handmade_ner()), len(mtl.toy.handmade_qa()))\n"
        "print(mtl.load_recipe('practical7').seed)"
    )
    sentences, questions, seed = map(int, python("-c", look, cwd=tmp_path, **alone).split())
    assert sentences >= 30
    assert questions >= 30
    assert seed == 0


def test_the_command_mtl_is_what_python_m_mtl_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
        text = archive.read(path).decode()
    assert "mtl = mtl.cli.main:main" in text


# --- an import ------------------------------------------------------------------------------------


IMPORT = """
import json, logging, random, sys, warnings
import matplotlib, numpy, torch

def state():
    return (
        torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), random.getstate(),
        torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        warnings.filters[:], warnings.showwarning, sys.excepthook, dict(matplotlib.rcParams),
    )

matplotlib.rcParams["backend"]  # settles what matplotlib itself would settle
before, loaded = state(), set(sys.modules)
import mtl, mtl.api, mtl.cli.main
pairs = enumerate(zip(before, state()))
logger = logging.getLogger("mtl")
print(json.dumps({
    "changed": [(i, str(old)[:200], str(new)[:200]) for i, (old, new) in pairs if old != new],
    "loaded": sorted({name.split(".")[0] for name in set(sys.modules) - loaded}),
    "handlers": [str(handler) for handler in logger.handlers + logging.root.handlers],
    "level": logger.level,
    "propagate": logger.propagate,
}))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """What an import of the package did in a process of its own, and what that process printed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        **{"cwd": tmp_path_factory.mktemp("import"), "env": environment},
        **{"capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done


def test_an_import_brings_no_extra_and_changes_nothing(imported):
    found, _ = imported
    assert found["changed"] == []
    assert "mtl" in found["loaded"]
    extras = {
        *("jupyter", "IPython", "ipykernel", "nbclient", "nbformat", "notebook", "ipywidgets"),
        *("tokenizers", "transformers", "huggingface_hub", "datasets", "torchjd", "seqeval"),
        *("hypothesis", "pytest", "_pytest", "build", "ruff", "sklearn", "scipy", "pandas"),
        *("fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client"),
    }
    assert not set(found["loaded"]) & extras


def test_an_import_says_nothing_and_sets_up_no_logging(imported):
    found, done = imported
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
    assert found["handlers"] == []
    assert (found["level"], found["propagate"]) == (0, True)


# --- names and docstrings -------------------------------------------------------------------------


def test_all_is_sorted_complete_and_there():
    assert mtl.__all__ == sorted(mtl.__all__)
    assert len(set(mtl.__all__)) == len(mtl.__all__)
    for name in mtl.__all__:
        assert hasattr(mtl, name), name
    assert not PROMISED - set(mtl.__all__)


def test_a_folder_of_the_same_name_beside_a_script_is_not_taken_for_the_package(tmp_path):
    """Such as the clone, seen from the folder above it. Install it again if this fails."""
    (tmp_path / "mtl").mkdir()
    script = tmp_path / "script.py"
    script.write_text("import mtl\nprint(mtl.__version__)\n", encoding="utf-8")
    assert python(script, cwd=tmp_path).strip() == mtl.__version__


def test_what_the_package_imports_is_what_it_offers():
    """A name that `mtl/api.py` imports without naming it in `__all__` was forgotten."""
    tree = ast.parse((PACKAGE / "api.py").read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(mtl.__all__)


@pytest.mark.parametrize("name", sorted(set(mtl.__all__) - {"__version__"}))
def test_what_is_offered_is_documented(name):
    thing = getattr(mtl, name)
    assert (thing.__doc__ or "").strip()
    if inspect.isclass(thing):  # a dataclass without one is given its signature
        assert not thing.__doc__.startswith(f"{thing.__name__}(")


def public_things(module):
    """The functions and classes that a module defines."""
    for name, thing in vars(module).items():
        ours = getattr(thing, "__module__", None) == module.__name__
        thing = inspect.unwrap(thing) if callable(thing) else thing  # a cached function, say
        if (
            ours
            and not name.startswith("_")
            and (inspect.isfunction(thing) or inspect.isclass(thing))
        ):
            yield f"{module.__name__}.{name}", thing


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_function_and_class_has_a_docstring(module):
    if Path(module.__file__).read_text(encoding="utf-8").strip():
        assert (module.__doc__ or "").strip(), "the module does not say what it is for"
    for name, thing in public_things(module):
        doc = (thing.__doc__ or "").strip()
        generated = inspect.isclass(thing) and doc.startswith(f"{thing.__name__}(")
        assert doc, name
        assert not generated, name


# --- words ----------------------------------------------------------------------------------------


def text_files():
    """Every text file of the repository: known to git, or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is not a git checkout")
    for name in filter(None, done.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                assert path.suffix in BINARY, f"{name} is neither text nor one of {BINARY}"


BINARY = (".png", ".gif", ".svgz")
# Written so that these lines do not find themselves.
FORBIDDEN = {
    "a path of somebody's machine": (
        r"(?<![\w.:/])/(?:[h]ome|[U]sers|[r]oot|[w]ork|[t]mp|[m]nt|[v]ar/folders)/\w"
        r"|\b[A-Z]:\\{1,2}[U]sers\b"
    ),
    "the address of a package index": (
        r"[p]ypi\.org|[p]ythonhosted\.org|[d]ownload\.pytorch\.org|[a]naconda\.org"
        r"|[i]ndex-url[ =]+\S*://|://\S+/[s]imple\b"
    ),
    "an assistant": (
        r"(?i)[c]laude|[a]nthropic|[c]hat-?gpt|[c]opilot|[g]emini\b|[o]penai\b(?!\W+gpt)"
        r"|\b[A]I[- ](?:assistant|generated|written)|[l]anguage model (?:wrote|generated)"
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_mentions(what):
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in text_files()
        for match in re.finditer(FORBIDDEN[what], text)
    ]
    assert not found, f"{what}: {found[:10]}"


def test_the_words_that_are_looked_for_would_be_found():
    """The patterns above are odd to read; this says what they stand for."""
    seen = {
        "a path of somebody's machine": ["/ho" + "me/ann/x", "'/tm" + "p/x'", "C:\\Us" + "ers\\a"],
        "the address of a package index": ["https://py" + "pi.org/p", "--inde" + "x-url http://a"],
        "an assistant": [
            "Co-authored by Cla" + "ude",
            "made with Chat" + "GPT",
            "A" + "I-generated",
        ],
    }
    unseen = {
        "a path of somebody's machine": [
            "https://a.org/ho" + "me/x",
            "./wo" + "rk/x",
            "homework/1",
        ],
        "the address of a package index": ["pip install torch", "pytorch.org"],
        "an assistant": ["a language model", "claw", "said"],
    }
    for what, pattern in FORBIDDEN.items():
        assert all(re.search(pattern, text) for text in seen[what])
        assert not any(re.search(pattern, text) for text in unseen[what])
