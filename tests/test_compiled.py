"""Training with `train.compile`: the same as without; and where it is refused.

The code that torch traces is run as it is (`aot_eager`), since making kernels of it takes minutes.
"""

from dataclasses import replace
from functools import partial

import pytest
import small_training
import torch
from small_training import FAST, same_weights, weights_of

import mtl
from mtl.errors import ConfigError
from mtl.training import compiled
from mtl.training.aggregation import PCGrad
from mtl.training.loop import train

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks
# Which words are hidden depends on the width of a batch, and compiled ones are wider.
COMPILED = replace(FAST, batch_size=9, compile=True, hide_words=0.0, device="cpu")


@pytest.fixture
def traced(monkeypatch):
    """The shapes that compiled code was called with; what cannot be traced is an error."""
    shapes, compile_ = [], torch.compile

    def compile_and_count(function, **options):
        options = {"fullgraph": True, "backend": "aot_eager"} | options
        run = compile_(function, **options)

        def counted(*inputs):
            shapes.append(tuple(inputs[0].shape))
            return run(*inputs)

        return counted

    monkeypatch.setattr(torch, "compile", compile_and_count)
    return shapes


def test_the_same_weights_as_without(build_model, tasks, traced, tmp_path):
    """Batches of 2 to 9 rows, two in a step; saved under the same names."""
    train_joint = partial(train, tasks=tasks, progress=False)
    joint = replace(COMPILED, sampling="joint")
    eager, model = (build_model(tasks).double() for _ in range(2))
    train_joint(eager, config=replace(joint, compile=False))
    assert not traced
    train_joint(model, config=joint)
    shapes = {shape for shape in traced if len(shape) == 2}  # the others were to see if it can
    assert {rows for rows, _ in shapes} == {compiled.ROWS, 2 * compiled.ROWS}
    assert {length for _, length in shapes} <= {32, 64}
    assert "forward" not in vars(model.encoder)
    for (name, weight), (other, expected) in zip(
        model.state_dict().items(), eager.state_dict().items(), strict=True
    ):
        assert name == other
        torch.testing.assert_close(weight, expected, rtol=1e-7, atol=1e-9)
    model.float().save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert same_weights(weights_of(loaded), weights_of(model))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"compile": "always"}, "must be true, false or"),
        ({"compile": 1}, "must be true or false"),
        ({"compile": "reduce-overhead", "max_tokens": 100}, "same memory for every part"),
        ({"compile": True, "sampling": "joint", "aggregation": "pcgrad"}, "PCGrad takes"),
        ({"compile": True, "sampling": "joint", "weighting": "gradnorm"}, "GradNorm takes"),
    ],
)
def test_settings_that_contradict_it(settings, words):
    with pytest.raises(ConfigError, match=words):
        mtl.TrainConfig(**settings)


def test_refused_before_training(build_model, tasks, traced, monkeypatch):
    """`traced`, since this machine may have no compiler."""
    start = partial(train, tasks=tasks, progress=False)
    joint = replace(COMPILED, sampling="joint")
    with pytest.raises(ConfigError, match="PCGrad takes the gradients of each task"):
        start(build_model(tasks), config=joint, aggregation=PCGrad())
    with pytest.raises(ConfigError, match="captures the kernels of a GPU"):
        start(build_model(tasks), config=replace(COMPILED, compile="reduce-overhead"))
    plain = build_model(tasks)
    adapted = mtl.MultiTaskModel(plain.encoder, plain.tokenizer, tasks, adapters={"qa": 2})
    with pytest.raises(ConfigError, match=r"nothing of their own\n.* embedding of qa"):
        start(adapted, config=COMPILED)

    def no_compiler(function, **options):
        raise RuntimeError("No working C++ compiler found\nin ['g++']\n")

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(ConfigError, match=r"found: RuntimeError: in \['g\+\+'\]\n.*g\+\+") as error:
        start(build_model(tasks), config=COMPILED)
    assert "set train.compile = false" in str(error.value)
