"""The schema of settings: each kind of rule, all faults at once, the same in Python and in TOML."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.errors import ConfigError, Fault
from mtl.experiments import folder
from mtl.experiments.recipe import DatasetRecipe, Recipe, TaskRecipe, load_recipe, recipe_of
from mtl.nn.config import EncoderConfig
from mtl.settings import check, faults_by_key, setting, settings_of
from mtl.training.config import TrainConfig
from mtl.training.weighting import FixedWeighting, Weighting

COLOURS = ["red", "green"]


def check_even(value, name):
    if value % 2:
        raise ConfigError(f"{name} must be even", found=str(value))


@dataclass(frozen=True)
class Garden:
    """A settings class with a rule of each kind."""

    plot: str
    trees: int = setting(1, least=1)
    width: float = setting(2.0, above=0, below=math.inf)
    share: float = setting(1.0, above=0, most=1)
    decay: float = setting(0.5, least=0, below=1)
    warmup: float = setting(0.1, least=0, most=1)
    depth: float = setting(0.1, least=0)
    colour: str = setting("red", choices=COLOURS)
    pairs: int = setting(2, check=check_even)
    fenced: bool = False
    names: Sequence[str] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    limit: float | None = setting(None, least=0)
    column: int | str | None = None
    anything: Any = None

    def __post_init__(self):
        check(self, "garden.")

    def contradictions(self, wrong):
        if set(wrong).isdisjoint(["trees", "pairs"]) and self.trees > 2 * self.pairs:
            yield Fault("too many trees", found=f"{self.trees} trees, {self.pairs} pairs")


def faults_of(**values):
    """The same values in Python and as a section of a file: what is said must be the same."""
    values = {"plot": "A1"} | values
    by_key = faults_by_key(values, settings_of(Garden), "garden.")
    in_a_file = [fault for faults in by_key.values() for fault in faults]
    try:
        Garden(**values)
    except ConfigError as error:
        in_python = error.faults
    else:
        in_python = []
    # In Python the order is that of the fields, and values are also looked at together.
    assert set(in_a_file) <= set(in_python)
    return in_python


RIGHT = [
    *({"trees": 1}, {"trees": np.int64(3)}, {"width": 3}, {"width": 0.1}, {"share": 1}),
    *({"decay": 0}, {"warmup": 0}, {"warmup": 1}, {"depth": 2**63 - 1}, {"colour": "green"}),
    *({"fenced": True}, {"names": ["a"]}, {"names": ("a", "b")}, {"rows": [{}]}, {"rows": [3]}),
    *({"weights": {"a": 1, "b": 0.5}}, {"limit": None}, {"limit": 2}, {"column": "tag"}),
    *({"column": 3}, {"column": None}, {"anything": {"x": [1]}}, {"pairs": 4}),
]


@pytest.mark.parametrize("values", RIGHT, ids=str)
def test_values_that_may_be(values):
    assert faults_of(**values) == []


WRONG = [
    ({"plot": 3}, 'plot must be a text in quotes, such as "ner"', "3"),
    ({"trees": "2"}, "trees must be a whole number", "'2'"),
    ({"trees": 2.0}, "trees must be a whole number", "2.0"),
    ({"trees": True}, "trees must be a whole number", "True"),
    ({"trees": None}, "trees must be a whole number", "None"),
    ({"trees": 0}, "trees must be at least 1", "0"),
    ({"width": "2"}, "width must be a number", "'2'"),
    ({"width": False}, "width must be a number", "False"),
    ({"width": 0}, "width must be a positive number", "0"),
    ({"width": math.inf}, "width must be a positive number", "inf"),
    ({"width": math.nan}, "width must be a positive number", "nan"),
    ({"share": 0.0}, "share must be above 0 and at most 1", "0.0"),
    ({"share": 1.1}, "share must be above 0 and at most 1", "1.1"),
    ({"decay": 1}, "decay must be at least 0 and below 1", "1"),
    ({"warmup": -0.1}, "warmup must lie between 0 and 1", "-0.1"),
    ({"warmup": math.nan}, "warmup must lie between 0 and 1", "nan"),
    ({"depth": -1}, "depth must be at least 0", "-1"),
    ({"depth": math.inf}, "depth must be finite", "inf"),
    ({"depth": 2**63}, "depth must be a number of at most 64 bits", str(2**63)),
    ({"trees": 10**30}, "trees must be a whole number of at most 64 bits", str(10**30)),
    (
        *({"weights": {"a": 10**400}}, "weights.a must be a number of at most 64 bits"),
        str(10**400),
    ),
    ({"colour": "rde"}, "colour is unknown", "'rde'"),
    ({"colour": ["red"]}, 'colour must be a text in quotes, such as "ner"', "['red']"),
    ({"pairs": 3}, "pairs must be even", "3"),
    ({"fenced": 1}, "fenced must be true or false", "1"),
    ({"names": "ab"}, "names must be a list of names", "'ab'"),
    ({"names": ["a", 2]}, "names must be a list of names", "['a', 2]"),
    ({"rows": {}}, "rows must be a list in square brackets", "{}"),
    ({"weights": 3}, "weights must be a section of keys and values", "3"),
    ({"weights": {"a": 1, "b": "x"}}, "weights.b must be a number", "'x'"),
    ({"limit": "x"}, "limit must be a number", "'x'"),
    ({"limit": -1}, "limit must be at least 0", "-1"),
    ({"column": 1.5}, 'column must be a whole number or a text in quotes, such as "ner"', "1.5"),
    ({"column": True}, 'column must be a whole number or a text in quotes, such as "ner"', "True"),
]


@pytest.mark.parametrize(("values", "what", "found"), WRONG, ids=str)
def test_values_that_may_not_be(values, what, found):
    (fault,) = faults_of(**values)
    assert (fault.what, fault.found) == (f"garden.{what}", found)


def test_an_unknown_choice_is_told_the_nearest_and_a_list_of_names_how_it_is_written():
    fixes = [fault.fix for fault in faults_of(colour="rde", names="ab")]
    assert fixes == ['did you mean "red"? use one of green, red', 'for example ["one", "two"]']


def test_an_unknown_and_a_missing_key_of_a_section():
    found = faults_by_key({"tres": 3}, settings_of(Garden), "garden.")
    assert list(found) == ["tres", "plot"]
    (unknown,), (missing,) = found.values()
    assert unknown.what == "unknown key garden.tres"
    assert unknown.fix.startswith('did you mean "trees"?')
    assert missing.what == "garden.plot is missing"
    with pytest.raises(TypeError):  # in Python both are Python's own errors
        Garden(tres=3)


def test_all_faults_are_said_at_once_in_the_order_of_the_section():
    values = {
        "colour": "blue",
        "trees": 0,
        "tres": 1,
        "plot": "A1",
        "weights": {"a": "x", "b": "y"},
    }
    found = faults_by_key(values, settings_of(Garden))
    assert [fault.what for faults in found.values() for fault in faults] == [
        "colour is unknown",
        "trees must be at least 1",
        "unknown key tres",
        "weights.a must be a number",
        "weights.b must be a number",
    ]


def test_what_cannot_be_together_is_said_beside_other_faults_unless_it_is_about_them():
    assert [f.what for f in faults_of(trees=9, colour="blue")] == [
        "garden.colour is unknown",
        "too many trees",
    ]
    assert [f.what for f in faults_of(trees=9, pairs=3)] == ["garden.pairs must be even"]


def test_choices_may_grow(monkeypatch):
    """A weighting of the user's own can be named as soon as it is defined."""
    monkeypatch.setattr(Weighting, "kinds", Weighting.kinds)
    with pytest.raises(ConfigError, match=r"train\.weighting is unknown"):
        TrainConfig(weighting="of_my_own")
    monkeypatch.setitem(Weighting.kinds, "of_my_own", FixedWeighting)
    assert TrainConfig(weighting="of_my_own").weighting == "of_my_own"


def test_the_parameters_of_a_function_are_settings_too():
    def plant(garden, trees: int, depth=0.5, *rest, colour: "Sequence[str] | None" = None, **more):
        """Annotated or not, with a default or not."""

    settings = settings_of(plant, "garden")
    assert list(settings) == ["trees", "depth", "colour"]
    assert [one.required for one in settings.values()] == [True, False, False]
    found = faults_by_key({"depth": "x", "colour": "red"}, settings)
    assert [faults[0].what for faults in found.values()] == [
        "depth must be a number",
        "colour must be a list of names",
        "trees is missing",
    ]


def test_an_annotation_that_only_a_type_checker_knows_leaves_the_default_to_tell_the_type():
    def plant(tree: "Tree", depth: float = 0.5):  # noqa: F821
        """`Tree` was imported for type checkers alone."""

    found = faults_by_key({"tree": 3, "depth": "x"}, settings_of(plant))
    assert list(found) == ["depth"]


# --- the settings classes of the package ----------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40),
    st.floats(),
    st.sampled_from(["", "joint", "cpu", "cuda:1", "rotary", "float32", "gelu", "fixed", "sum"]),
    st.lists(st.sampled_from(["encoder", 3]), max_size=2),
    st.dictionaries(st.sampled_from(["ner", "qa"]), st.floats() | st.just("x"), max_size=2),
)


@pytest.mark.parametrize(
    ("cls", "where", "given_"),
    [
        (TrainConfig, "train.", {}),
        (EncoderConfig, "encoder.", {"vocab_size": 9}),
        (DatasetRecipe, "", {}),
        (TaskRecipe, "", {"kind": "ner"}),
    ],
)
@given(data=st.data())
@settings(max_examples=60)
def test_any_values_are_taken_or_refused_by_the_names_of_those_that_are_wrong(
    cls, where, given_, data
):
    """Beside these there are only faults of the right values together, which name no wrong one."""
    known = settings_of(cls)
    values = given_ | data.draw(st.dictionaries(st.sampled_from(sorted(known)), VALUES))
    alone = {key: known[key].faults(value, f"{where}{key}") for key, value in values.items()}
    wrong = [key for key in known if alone.get(key)]
    faults = faults_raised(cls, values)
    expected = [fault for key in wrong for fault in alone[key]]
    assert faults[: len(expected)] == expected
    right = {key: value for key, value in values.items() if key not in wrong}
    for fault in faults[len(expected) :]:
        assert fault in faults_raised(cls, given_ | right)
        assert not any(f"{where}{key} " in fault.what for key in wrong)


def faults_raised(cls, values):
    try:
        cls(**values)
    except ConfigError as error:
        return error.faults
    return []


def test_a_training_config_lists_all_that_is_wrong_with_it():
    with pytest.raises(ConfigError) as caught:
        TrainConfig(
            epochs=0, batch_size=0, warmup_ratio="x", sampling="jont", weighting="dwa", max_tokens=9
        )
    assert [fault.what for fault in caught.value.faults] == [
        "train.epochs must be at least 1",
        "train.batch_size must be at least 1",
        "train.warmup_ratio must be a number",
        "train.sampling is unknown",
        "only fixed weights add up over the parts of a batch",
    ]
    with pytest.raises(ConfigError, match=r'has no warmp(.|\n)*"warmup_ratio"'):
        TrainConfig(epochs=0, warmp=1)


def test_numbers_of_numpy_become_plain_ones_which_any_file_can_hold():
    config = TrainConfig(
        epochs=np.int64(3), learning_rate=np.float32(0.5), loss_weights={"ner": np.float32(2)}
    )
    assert config == TrainConfig(epochs=3, learning_rate=0.5, loss_weights={"ner": 2.0})
    assert '"epochs": 3' in json.dumps(asdict(config))


def test_who_asks_for_a_gpu_is_told_of_cuda():
    with pytest.raises(ConfigError, match='did you mean "cuda"'):
        TrainConfig(device="gpu")


def test_an_encoder_config_lists_all_that_is_wrong_with_it():
    with pytest.raises(ConfigError) as caught:
        EncoderConfig(vocab_size=0, d_model=30, dropout="much", rotary_heads=5)
    assert [fault.what for fault in caught.value.faults] == [
        "encoder.vocab_size must be at least 1",
        "encoder.dropout must be a number",
        "encoder.d_model must be a multiple of encoder.n_heads",
        "encoder.rotary_heads must lie between 0 and encoder.n_heads",
    ]


def test_a_recipe_made_in_python_is_checked_too():
    with pytest.raises(ConfigError) as caught:
        Recipe("a/b", {}, seed=-1, on_error="ask")
    assert [fault.what for fault in caught.value.faults] == [
        "the recipe's name must be a word without slashes",
        "the recipe has no task",
        "seed must be at least 0 and below 4294967296",
        "on_error must be stop or skip",
    ]
    with pytest.raises(ConfigError, match="share must be above 0 and at most 1"):
        TaskRecipe("ner", toy="ner", share=0)


# --- recipe files ---------------------------------------------------------------------------------

FAULTY = """\
sede = 1
on_error = "ask"

[encoder]
d_model = 30
dropout = 2

[datasets.texts]
toy = "news"
limit = -1

[datasets.txts]
toy = "news"

[tasks.topic]
kind = "classification"
data = "texts"
limit = -5
poling = "mean"

[tasks.qa]
kind = "qaa"
toy_train = "many"

[train]
epochs = 0
weighting = "gradnrom"
aggregation = "pcgrad"
"""
FAULTS = [
    "unknown key sede",
    "on_error must be stop or skip",
    "encoder.dropout must be at least 0 and below 1",
    "encoder.d_model must be a multiple of encoder.n_heads",
    "datasets.texts.limit must be at least 0",
    "no task uses the dataset 'txts'",
    "unknown key tasks.topic.poling",
    "tasks.topic.limit has no effect, since the task uses the dataset 'texts'",
    "tasks.qa.kind is unknown",
    "tasks.qa.toy_train must be a whole number",
    "the section [tasks.qa] does not say what to train on",
    "train.epochs must be at least 1",
    "train.weighting is unknown",
    "PCGrad needs every task's gradient in the same step",
]


@pytest.fixture
def write(tmp_path):
    """Write a recipe and give its path."""

    def write(content):
        path = tmp_path / "own.toml"
        path.write_text(content)
        return path

    return write


def test_all_faults_of_a_recipe_are_listed_each_once_in_the_order_of_the_file(write):
    path = write(FAULTY)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert [fault.what for fault in caught.value.faults] == FAULTS
    assert {fault.path for fault in caught.value.faults} == {str(path)}
    assert str(caught.value).endswith(f"{len(FAULTS)} problems in all")


SMALL = """\
[tasks.ner]
kind = "ner"
toy = "ner"

[tasks.qa]
kind = "qa"
toy = "qa"
"""
STAGES = """
[train]
aggregation = "pcgrad"

[[stages]]
epochs = 0
tasks = ["nre"]

[[stages]]
alpha = 2.0
"""


def test_the_faults_of_stages_name_their_stage_and_what_is_the_same_in_two_is_said_once(write):
    with pytest.raises(ConfigError) as caught:
        load_recipe(write(SMALL + STAGES))
    assert [fault.what for fault in caught.value.faults] == [
        "stages.0.epochs must be at least 1",
        "stages.0.tasks names an unknown task",
        "PCGrad needs every task's gradient in the same step",
        "train.alpha must lie between 0 and 1, and train.anneal between 0 and train.alpha",
    ]


NAMED_WRONG = """
[tasks.all]
kind = "qa"
toy = "qa"

[tasks."a b"]
kind = "qa"
toy = "qa"

[train]
loss_weights = {ner = 1.0, nre = 1.0, qua = 2.0}
"""


def test_names_of_tasks_and_for_tasks_are_checked_with_the_rest(write):
    with pytest.raises(ConfigError) as caught:
        load_recipe(write(SMALL + NAMED_WRONG))
    assert [(fault.what, fault.found) for fault in caught.value.faults] == [
        ('the name "all" stands for every task', "'all'"),
        ("a task's name must be a letter, then letters, digits, underscores or hyphens", "'a b'"),
        ("train.loss_weights names an unknown task", "'nre'"),
        ("train.loss_weights names an unknown task", "'qua'"),
    ]


def test_what_stages_set_right_is_no_fault_of_the_section_before_them(write):
    stages = '\n[train]\naggregation = "pcgrad"\n\n[[stages]]\nsampling = "joint"\n'
    ((config, names),) = load_recipe(write(SMALL + stages)).train_configs
    assert (config.aggregation, names) == ("pcgrad", ["ner", "qa"])


def test_of_what_is_no_section_it_is_not_also_said_that_a_name_is_not_in_it(write):
    with pytest.raises(ConfigError) as caught:
        load_recipe(write('datasets = 3\n[tasks.ner]\nkind = "ner"\ndata = "texts"\n'))
    assert "datasets must be a section of keys and values" in str(caught.value)
    assert "unknown dataset" not in str(caught.value)


def test_checking_a_recipe_changes_nothing_of_it():
    content = {"tasks": {"ner": {"kind": "ner", "toy": "ner"}}}
    assert recipe_of(content, "own.toml").name == "own"
    assert content == {"tasks": {"ner": {"kind": "ner", "toy": "ner"}}}


def test_how_each_stage_is_trained_is_worked_out_once():
    recipe = load_recipe("practical7")
    assert recipe.train_configs is recipe.train_configs


# --- settings for what is not there ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting_", "what", "fix"),
    [
        (
            *("practical7", "datasets.records.limit=5", "the recipe has no dataset 'records'"),
            "its tasks have their own data: tasks.ner.limit or tasks.qa.limit",
        ),
        (
            *("jsonl", "datasets.recrods.limit=5", "the recipe has no dataset 'recrods'"),
            'did you mean "records"? use one of records',
        ),
        (
            *("practical7", "tasks.nre.limit=5", "the recipe has no task 'nre'"),
            'did you mean "ner"? use one of ner, qa',
        ),
    ],
)
def test_a_setting_of_a_dataset_or_task_that_is_not_there_says_so(name, setting_, what, fix):
    with pytest.raises(ConfigError) as caught:
        load_recipe(name, [setting_])
    assert caught.value.faults == [Fault(what, path=name, found=repr(setting_), fix=fix)]


def test_all_settings_that_cannot_be_are_listed_and_then_what_is_wrong_with_the_recipe():
    settings = [
        *("tasks.nre.limit=5", "train", "train..epochs=3", "train.epochs.most=3"),
        *("stages.0.epochs=3", "train.epoch=3", "train.epochs=0", "tasks.qa.toy=qaa"),
    ]
    with pytest.raises(ConfigError) as caught:
        load_recipe("practical7", settings)
    assert [fault.what for fault in caught.value.faults] == [
        "the recipe has no task 'nre'",
        "--set takes KEY=VALUE",
        "--set takes KEY=VALUE",
        "'epochs' is a value, not a section",
        "the recipe has no stages",
        "tasks.qa.toy is an unknown kind of toy data",
        "train.epochs must be at least 1",
        "unknown key train.epoch",
    ]
    assert {fault.path for fault in caught.value.faults} == {"practical7"}


@pytest.mark.parametrize("turned", [False, True])
def test_settings_may_make_a_dataset_and_a_task(turned):
    settings = [
        *("datasets.more.limit=5", "datasets.more.toy=ner"),
        *("tasks.extra.data=more", "tasks.extra.kind=ner"),
    ]
    recipe = load_recipe("practical7", settings[::-1] if turned else settings)
    assert recipe.source_of("extra") == DatasetRecipe(toy="ner", limit=5)


# --- the same recipe ------------------------------------------------------------------------------


def test_the_order_of_keys_makes_no_other_recipe_but_the_order_of_tasks_does(write, tmp_path):
    first, second = SMALL.split("\n\n")
    there = tmp_path / "recipe.toml"
    before = load_recipe(write(SMALL + "\n[train]\nepochs = 1\nrounds = 2\n"))
    there.write_text(before.to_toml())
    same = load_recipe(write(SMALL + "\n[train]\nrounds = 2\nepochs = 1\n"))
    folder.check_same_recipe(there, same)
    turned = load_recipe(write(f"{second}\n{first}\n\n[train]\nepochs = 1\nrounds = 2\n"))
    with pytest.raises(ConfigError, match=r"then: tasks in the order ner, qa; now: .* qa, ner\n"):
        folder.check_same_recipe(there, turned)


def test_a_value_of_one_stage_is_not_that_of_another(write, tmp_path):
    stages = "\n[[stages]]\nepochs = 1\n\n[[stages]]\nepochs = 2\n"
    there = tmp_path / "recipe.toml"
    there.write_text(load_recipe(write(SMALL + stages)).to_toml())
    turned = load_recipe(write(SMALL + stages.replace("1", "3")))
    with pytest.raises(ConfigError, match="then: epochs = 1; now: epochs = 3"):
        folder.check_same_recipe(there, turned)


def test_the_recipe_of_a_run_that_cannot_be_read_is_said_to_be(tmp_path):
    there = tmp_path / "recipe.toml"
    there.write_text("seed = = 3")
    with pytest.raises(ConfigError, match="the recipe is not TOML"):
        folder.check_same_recipe(there, load_recipe("practical7"))


def test_mappings_are_sections():
    class Weights(Mapping):
        def __getitem__(self, key):
            return {"ner": 2.0}[key]

        def __iter__(self):
            return iter(["ner"])

        def __len__(self):
            return 1

    assert TrainConfig(loss_weights=Weights()).build_weighting().weights == {"ner": 2.0}
