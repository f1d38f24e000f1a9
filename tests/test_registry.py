"""Classes found by name: the user's own from a recipe, those of installed packages, no others."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from processes import Process

import mtl
from mtl.cli.main import main
from mtl.errors import ConfigError, ModelError
from mtl.experiments.build import build_tasks
from mtl.experiments.plan import method_settings
from mtl.registry import find_class, import_class, import_named
from mtl.tasks import Task
from mtl.tasks.ner import NERTask
from mtl.training import Aggregation, Weighting

OWN = Path(__file__).with_name("own_classes.py")
RECIPE = """
[tasks.length]
kind = "mymodule:LengthTask"
toy = "news"
toy_train = 12
toy_held_out = 4

[encoder]
d_model = 8
n_heads = 2
n_layers = 1
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory with `mymodule.py`; what a test imports or registers is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for base in (Task, Weighting, Aggregation):
        monkeypatch.setattr(base, "kinds", dict(base.kinds))
    shutil.copy(OWN, "mymodule.py")
    Path("my.toml").write_text(RECIPE)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


def save_model(folder, task):
    tokenizer = mtl.WhitespaceTokenizer.train(["some words"])
    shape = mtl.EncoderConfig(len(tokenizer), d_model=8, n_heads=2, n_layers=1)
    mtl.MultiTaskModel(mtl.TransformerEncoder(shape), tokenizer, [task]).save_pretrained(folder)


def set_kind(folder, kind):
    """Change the config of a model folder, as somebody else may have written it."""
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text())
    for task in config["tasks"].values():
        task["kind"] = kind
    path.write_text(json.dumps(config))


# --- a recipe names a class -----------------------------------------------------------------------


def test_a_recipe_names_a_task_of_a_module_in_the_working_directory():
    assert os.getcwd() not in sys.path  # as for the command mtl
    recipe = mtl.load_recipe("my.toml", ["tasks.length.step=0.25"])
    (task,) = build_tasks(recipe)
    assert type(task) is sys.modules["mymodule"].LengthTask
    assert (task.kind, task.step) == ("mymodule:LengthTask", 0.25)


def test_the_recipe_of_the_run_says_what_the_users_says():
    recipe = mtl.load_recipe("my.toml")
    Path("again.toml").write_text(recipe.to_toml())
    assert mtl.load_recipe("again.toml").tasks == recipe.tasks


def test_a_class_goes_by_its_short_name_or_else_by_its_place():
    own = import_class(Task, "mymodule:LengthTask", "kind")
    named = import_class(Task, "mymodule:NamedLengthTask", "kind")
    assert (own.kind, named.kind) == ("mymodule:LengthTask", "lengths")
    for name, cls in ((own.kind, own), (named.kind, named), ("mymodule:NamedLengthTask", named)):
        assert find_class(Task, name, "kind") is cls


def test_a_subclass_without_a_name_of_its_own_is_not_read_as_its_parent(tmp_path):
    """Its folder would be scored and decoded by the parent's methods, and nobody would know."""

    class Mine(NERTask):
        pass

    assert Mine.kind == f"{__name__}:{Mine.__qualname__}"
    assert find_class(Task, "ner", "kind") is NERTask


def test_options_of_an_own_task_are_checked_as_those_of_ours():
    settings = ["tasks.length.step='wide'", "tasks.length.stepp=1"]
    with pytest.raises(ConfigError) as caught:
        mtl.load_recipe("my.toml", settings)
    assert [fault.what for fault in caught.value.faults] == [
        "tasks.length.step must be a number",
        "unknown key tasks.length.stepp",
    ]


def test_methods_are_named_the_same_way():
    methods = ["train.weighting=mymodule:Scaled", "train.aggregation=mymodule:Mean"]
    options = ["train.weighting_options.factor=0.25", "train.sampling=joint"]
    recipe = mtl.load_recipe("my.toml", [*methods, *options])
    config, _ = recipe.train_configs[0]
    assert config.build_weighting().factor == 0.25
    assert type(config.build_aggregation()) is sys.modules["mymodule"].Mean


def test_a_stage_may_name_a_method():
    Path("my.toml").write_text(f'{RECIPE}\n[[stages]]\nweighting = "mymodule:Scaled"\n')
    config, _ = mtl.load_recipe("my.toml").train_configs[0]
    assert type(config.build_weighting()) is sys.modules["mymodule"].Scaled


def test_a_comparison_takes_methods_of_ones_own():
    recipe = mtl.load_recipe("practical7")
    settings = method_settings("mymodule:Scaled(factor=0.1)", recipe)
    assert (settings["weighting"], settings["weighting_options"]) == (
        "mymodule:Scaled",
        {"factor": 0.1},
    )
    settings = method_settings("mymodule:Mean", recipe)
    assert (settings["aggregation"], settings["sampling"]) == ("mymodule:Mean", "joint")
    with pytest.raises(ConfigError, match=r'(?s)mymodule has no Scald.*did you mean "Scaled"'):
        method_settings("mymodule:Scald", recipe)


# --- what can be wrong ----------------------------------------------------------------------------

WRONG = {
    "gone:MyTask": [r"there is no module|no such module", r"none in .*nor among the installed"],
    "a.b.c:MyTask": ["a.b.c: there is no such module"],
    "mymodule.py:LengthTask": ["names no module", 'write it as Python imports it: "mymodule"'],
    "my/module:LengthTask": ["names no module", 'write it as Python imports it: "mymodule"'],
    "mymodule:LenghtTask": ["mymodule has no LenghtTask", 'did you mean "LengthTask"'],
    "mymodule:NUMBER": ["names no task", "<class 'int'>", r"derived from mtl\.tasks\.Task"],
    "mymodule:Task": ["names no task"],  # the base class itself
    "mymodule:Scaled": ["names no task", r"<class 'mymodule\.Scaled'>"],
    "mymodule:Unfinished": ["lacks methods", "no collate, decode, loss, score, targets"],
    "mymodule:": ["is unknown"],
    "broken:MyTask": [
        "broken fails while it is imported",
        r"ZeroDivisionError: .*broken.py, line 2",
    ],
    "typo:MyTask": ["typo fails while it is imported", r"SyntaxError: .*typo.py, line 1"],
    "needy:MyTask": ["needy fails while it is imported", "No module named 'not_there'", "line 1"],
    "quits:MyTask": ["quits fails while it is imported", "SystemExit: 3"],
    "clash:MyTask": ["clash: the name 'ner' of MyTask is taken by NERTask"],
}


@pytest.fixture
def broken_modules(place):
    modules = {
        "broken": "\n1 / 0\n",
        "typo": "def\n",
        "needy": "import not_there\n",
        "quits": "raise SystemExit(3)\n",
        "clash": "import mtl\nclass MyTask(mtl.NERTask):\n    kind = 'ner'\n",
    }
    for name, source in modules.items():
        Path(f"{name}.py").write_text(source)


@pytest.mark.usefixtures("broken_modules")
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_said_once_among_the_other_faults(kind):
    with pytest.raises(ConfigError) as caught:
        mtl.load_recipe("my.toml", [f'tasks.length.kind="{kind}"', "train.epochs=0"])
    first, second = caught.value.faults
    assert first.what.startswith("tasks.length.kind")
    assert first.path == "my.toml"
    assert second.what == "train.epochs must be at least 1"
    for words in WRONG[kind]:
        assert re.search(words, str(first))


@pytest.mark.usefixtures("broken_modules")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mymodule:Silent", "train.weighting: Silent lacks methods that every weighting needs"),
        ("mymodule:Mean", "train.weighting names no weighting"),
        ("broken:Any", "train.weighting: broken fails while it is imported"),
    ],
)
def test_a_wrong_method_hides_no_other_fault(name, words):
    settings = [f"train.weighting={name}", "train.weighting_options.factor=1", "train.alpha=-1"]
    with pytest.raises(ConfigError) as caught:
        mtl.load_recipe("my.toml", settings)
    first, second = caught.value.faults
    assert first.what == words
    assert "alpha" in second.what


# --- installed packages ---------------------------------------------------------------------------


def write_package(folder, name, entry_points, source):
    """What an installed package of one module looks like."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    (folder / f"{name}.py").write_text(source)


@pytest.fixture
def install(place):
    """Install a package of one module where Python finds it."""

    def install(name, entry_points, more=""):
        write_package(place / "site", name, entry_points, OWN.read_text() + more)
        sys.path.append(str(place / "site"))

    return install


POINTS = """
[mtl.tasks]
lengths = lengthy:NamedLengthTask
[mtl.weightings]
scaled = lengthy:ScaledByName
[mtl.aggregations]
mean = lengthy:MeanByName
"""
NAMED = """
class ScaledByName(Scaled):
    name = "scaled"

class MeanByName(Mean):
    name = "mean"
"""


def test_an_installed_package_is_used_by_its_plain_names(install):
    install("lengthy", POINTS, NAMED)
    assert find_class(Task, "ner", "kind") is NERTask
    assert "lengthy" not in sys.modules  # not before one of its names is needed
    settings = ["tasks.length.kind=lengths", "train.weighting=scaled", "train.aggregation=mean"]
    recipe = mtl.load_recipe("my.toml", [*settings, "train.sampling=joint"])
    assert build_tasks(recipe)[0].kind == "lengths"
    config, _ = recipe.train_configs[0]
    assert config.build_weighting().name == "scaled"
    assert config.build_aggregation().name == "mean"


def test_a_model_folder_may_name_what_is_installed(install):
    install("lengthy", POINTS, NAMED)
    save_model("folder", find_class(Task, "lengths", "kind")("mine", step=0.25))
    del Task.kinds["lengths"], sys.modules["lengthy"]  # as in a new process
    model = mtl.MultiTaskModel.from_pretrained("folder")
    assert type(model.tasks["mine"]) is sys.modules["lengthy"].NamedLengthTask
    assert model.tasks["mine"].step == 0.25


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ("other = lengthy:NamedLengthTask", r"of lengthy holds no task.*set kind = 'other'"),
        ("other = lengthy:NUMBER", "'other' of lengthy holds no task of this name"),
        ("other = lengthy:gone", "lengthy fails while it is imported.*AttributeError"),
        ("other = gone:MyTask", "lengthy fails while it is imported.*No module named 'gone'"),
    ],
)
def test_a_package_that_does_not_hold_what_it_promises(install, points, words):
    install("lengthy", f"[mtl.tasks]\n{points}\n")
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        find_class(Task, "other", "kind")


def test_two_packages_with_one_name(install):
    for package in ("lengthy", "longish"):
        install(package, f"[mtl.tasks]\nlengths = {package}:NamedLengthTask\n")
    with pytest.raises(
        ConfigError, match=r"several installed packages use the name 'lengths'(.|\n)*longish"
    ):
        find_class(Task, "lengths", "kind")
    assert not {"lengthy", "longish"} & sys.modules.keys()


def test_an_unknown_name_is_told_those_of_packages_too(install):
    install("lengthy", POINTS)
    with pytest.raises(ConfigError, match='did you mean "lengths"'):
        find_class(Task, "lengts", "kind")
    assert "lengthy" not in sys.modules


# --- a folder from somebody else ------------------------------------------------------------------

EVIL = """
import pathlib
pathlib.Path({mark!r}).write_text("it ran")
import mtl
class Task(mtl.NERTask):
    pass
class Method(mtl.training.Weighting):
    def forward(self, losses):
        return dict.fromkeys(losses, 1.0)
"""


@pytest.fixture
def hostile(place):
    """A run folder that names a module, which lies wherever Python might look for it."""
    mark = place / "evil_was_here"
    source = EVIL.format(mark=str(mark))
    save_model("run", mtl.NERTask("mine", types=["PER"]))
    set_kind("run", "evil:Task")
    recipe = RECIPE.replace("mymodule:LengthTask", "evil:Task").replace("length", "mine")
    train = '[train]\nweighting = "evil:Method"\n'
    Path("run/recipe.toml").write_text(f'name = "x"\nseed = 0\n{recipe}\n{train}')
    (place / "importable").mkdir()
    for folder in (".", "run", "importable"):
        Path(folder, "evil.py").write_text(source)
    # Where one happens to be is not where packages are installed.
    write_package(place, "evil", "[mtl.tasks]\nevil = evil:Task\n", source)
    return mark


def in_a_process(arguments, path):
    """The command as `python -m mtl` would run it: with its working directory on the path."""
    sys.path[:0] = path
    return main(arguments)


COMMANDS = {
    "predict": ["predict", "run", "--text", "some words"],
    "interactive": ["interactive", "run"],
    "validate": ["validate", "run"],
    "evaluate": ["evaluate", "run"],
}


@pytest.mark.parametrize("kind", ["evil:Task", "evil"])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_a_model_folder_names_is_imported(hostile, place, command, kind):
    set_kind("run", kind)
    path = [str(place), str(place / "importable"), ""]
    status, _, err = Process(in_a_process, COMMANDS[command], path).finish()
    assert status == 1
    assert "run/config.json: the kind of the task 'mine'" in err
    assert "--import" in err
    assert not hostile.exists()


def test_nothing_that_the_recipe_of_a_run_names_is_imported(hostile, place):
    set_kind("run", "ner")
    path = [str(place), str(place / "importable"), ""]
    status, _, err = Process(in_a_process, COMMANDS["evaluate"], path).finish()
    assert status == 2
    assert "tasks.mine.kind names a class of a module that is not imported" in err
    assert "train.weighting names a class of a module that is not imported" in err
    assert "--import evil" in err
    assert not hostile.exists()


def test_python_imports_nothing_either_unless_the_module_is_imported_before(hostile):
    sys.path.insert(0, os.getcwd())
    with pytest.raises(ModelError, match=r"(?s)module that is not imported.*import evil first"):
        mtl.MultiTaskModel.from_pretrained("run")
    assert not hostile.exists()
    import_named("evil", "--import")
    assert hostile.exists()
    model = mtl.MultiTaskModel.from_pretrained("run")
    assert type(model.tasks["mine"]) is sys.modules["evil"].Task


def test_what_a_program_holds_is_not_printed_for_a_folder_that_asks(hostile, monkeypatch):
    monkeypatch.setenv("SECRET", "do not tell")
    set_kind("run", "os:environ")
    with pytest.raises(ModelError, match="no task") as caught:
        mtl.MultiTaskModel.from_pretrained("run")
    assert "do not tell" not in str(caught.value)


def test_a_module_is_not_asked_for_what_it_would_have_to_load(hostile):
    """`__getattr__` of a module (PEP 562) may import another, and so do ours and many others."""
    Path("lazy.py").write_text("def __getattr__(name):\n    import evil\n    return evil.Task\n")
    import_named("lazy", "--import")
    with pytest.raises(ConfigError, match="the module lazy has no Task"):
        find_class(Task, "lazy:Task", "kind")
    assert not hostile.exists()
    # A recipe is its user's own, and many packages load their classes like this: so does `mtl`.
    assert import_class(Task, "lazy:Task", "kind") is sys.modules["evil"].Task
    assert import_class(Task, "mtl:NERTask", "kind") is mtl.NERTask
