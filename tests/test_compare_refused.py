"""What a comparison refuses, said before anything is trained."""

from dataclasses import replace

import comparing
import pytest

from mtl.errors import ConfigError, DataError
from mtl.experiments.compare import compare

# pytest looks for a fixture by its name in this module.
no_picture = comparing.no_picture
no_training = comparing.no_training
recipe = comparing.recipe


def refused(recipe, folder, kind=ConfigError, **options):
    """What is said; nothing is written either, so that the next try finds no other recipe."""
    with pytest.raises(kind) as error:
        compare(recipe, folder / "out", **({"seeds": 1, "progress": False} | options))
    assert not (folder / "out").exists()
    return str(error.value)


def test_one_task_is_too_few(recipe, tmp_path, no_training):
    one = replace(recipe, tasks={"ner": recipe.tasks["ner"]})
    assert "at least two tasks" in refused(one, tmp_path)


def test_stages_are_refused(recipe, tmp_path, no_training):
    staged = replace(recipe, stages=[{"tasks": ["ner"]}, {"tasks": ["qa"]}])
    assert "stages cannot be compared" in refused(staged, tmp_path)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("pcgrd", 'did you mean "pcgrad"'),
        ("Alternatig", 'did you mean "alternating"'),
        ("uncertanty", 'did you mean "uncertainty"'),
        ("", "''"),
        ("(c=1)", "'(c=1)'"),
        ("gradnorm(alpha=1.5", "'gradnorm(alpha=1.5'"),
        ("gradnorm(alpha)", "write them like CAGrad(c=0.4)"),
        ("gradnorm(alpha=1.5))", "write them like CAGrad(c=0.4)"),
        ("gradnorm(alpha=-1)", "0 or more"),
        ("gradnorm(alpha='x')", "gradnorm"),
        ("gradnorm(beta=1.5)", "use one of alpha"),
        ("dwa(temperature=0)", "above 0"),
        ("", "unknown method of sharing"),
        ("train", "unknown method of sharing"),  # a word of the error about an aggregation
        ("joint(a=1)", "'joint(a=1)'"),
        ("pcgrad(a=1)", "aggregation_options.a"),
        ("fixed(weights={ner=1.0})", "set train.loss_weights"),
    ],
)
def test_what_is_no_method(recipe, tmp_path, no_training, method, words):
    assert words in refused(recipe, tmp_path, methods=["joint", method])


def test_no_method_at_all(recipe, tmp_path, no_training):
    assert "no method" in refused(recipe, tmp_path, methods=[])


def test_an_aggregator_of_torchjd_says_what_it_lacks(recipe, tmp_path, no_training):
    pytest.importorskip("torchjd")
    assert "cannot make CAGrad" in refused(recipe, tmp_path, methods=["CAGrad"])
    assert "UPGrad" in refused(recipe, tmp_path, methods=["UPGrd"])


def test_methods_that_differ_in_capitals_only(recipe, tmp_path, no_training):
    """Both exist, and a file system may take the files of their runs for one."""
    pytest.importorskip("torchjd")
    words = refused(recipe, tmp_path, methods=["pcgrad", "joint", "PCGrad"])
    assert "upper and lower case\n  found: pcgrad, PCGrad" in words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("qaa=0.5", 'did you mean "qa"'),
        ("0.5", "unknown task"),
        ("ner=0.5,topic=0.5", "'topic=0.5'"),
        *((f"qa={share}", f"'qa={share}'") for share in ("0", "1.5", "-0.5", "nan", "half", "")),
        ("qa", "'qa'"),
        ("ner=0.5,qa=2", "'qa=2'"),
        ("ner=0.50", "two sizes mean the same\n  found: ner=0.5, ner=0.50"),
        ("qa=0.5,qa=0.3", "names a task twice\n  found: 'qa=0.5,qa=0.3'"),
    ],
)
def test_what_is_no_size(recipe, tmp_path, no_training, size, words):
    assert words in refused(recipe, tmp_path, sizes=["ner=0.5", size])


@pytest.mark.parametrize("seeds", [0, -1, 1001, 10**20, 1.0, "2"])
def test_what_is_no_number_of_seeds(recipe, tmp_path, no_training, seeds):
    assert f"from 1 to 1,000\n  found: {seeds}" in refused(recipe, tmp_path, seeds=seeds)


@pytest.mark.parametrize("settings", [{"methods": "joint"}, {"sizes": "qa=0.5"}, {"sizes": [0.5]}])
def test_names_come_in_a_list(recipe, tmp_path, no_training, settings):
    assert "must be a list of names" in refused(recipe, tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_weights": {"ner": -1.0}}, "'ner' must be a finite number, 0 or more"),
        ({"loss_weights": {"qa": float("nan")}}, "'qa' must be a finite number, 0 or more"),
        ({"loss_weights": {"nre": 1.0}}, 'did you mean "ner"'),
        ({"epochs": 0}, "train.epochs"),
        ({"freeze": ["heads.nre"]}, 'did you mean "heads.ner"'),
        ({"freeze": ["heads.qa"]}, "'heads.qa'"),  # which the model of NER alone lacks
    ],
)
def test_what_some_training_would_refuse(recipe, tmp_path, no_training, settings, words):
    assert words in refused(replace(recipe, train=recipe.train | settings), tmp_path)


def test_a_method_that_compares_gradients_needs_shared_parameters(recipe, tmp_path, no_training):
    frozen = replace(recipe, train=recipe.train | {"freeze": ["encoder"]})
    assert "no shared parameter" in refused(frozen, tmp_path, methods=["joint", "pcgrad"])


def test_more_private_layers_than_layers(recipe, tmp_path, no_training):
    assert "private_layers" in refused(replace(recipe, model={"private_layers": 2}), tmp_path)


def test_without_test_data_there_is_nothing_to_compare(recipe, tmp_path, no_training):
    tasks = {name: replace(task, toy_held_out=0) for name, task in recipe.tasks.items()}
    assert "no test data" in refused(replace(recipe, tasks=tasks), tmp_path, DataError)


def test_after_a_slip_the_same_folder_will_do(recipe, tmp_path, no_picture):
    refused(replace(recipe, train=recipe.train | {"loss_weights": {"nre": 1.0}}), tmp_path)
    compare(recipe, tmp_path / "out", seeds=1, methods=["joint"], progress=False)
    assert (tmp_path / "out" / "compare.json").exists()
