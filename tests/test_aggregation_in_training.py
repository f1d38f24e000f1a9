"""Aggregations in the training loop: the same sum, own heads, memory, stopped and resumed."""

import math
import random
from dataclasses import replace

import pytest
import torch
from aggregating import JOINT, some_gradients, their
from stopping import stop_at
from torch.utils._python_dispatch import TorchDispatchMode

from mtl.data.dataset import Dataset
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, MTLError
from mtl.model import MultiTaskModel
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training import aggregation
from mtl.training.aggregation import Aggregation, PCGrad
from mtl.training.loop import Run, train
from mtl.training.optimizer import build_optimizer
from mtl.training.weighting import FixedWeighting

TYPES = ["LOC", "MISC", "ORG", "PER"]
RAW = {"max_grad_norm": 1e9}  # gradients stay as backward left them


@pytest.fixture(scope="module")
def records(sentences):
    """Sentences with tags, and a class, but not all."""

    def record(i, example):
        label = ("long" if len(example.tokens) > 9 else "short") if i % 3 else None
        return TextExample(example.text, example.tokens, label, example.tags if i % 4 else None)

    return Dataset(train=[record(i, example) for i, example in enumerate(sentences[:18])])


@pytest.fixture
def separate(sentences, questions):
    """Two tasks on datasets of their own."""
    return [
        NERTask("ner", Dataset(train=sentences[:12]), types=TYPES),
        QATask("qa", Dataset(train=questions[:14])),
    ]


@pytest.fixture
def together(records):
    """Two tasks on the same texts."""
    return [
        ClassificationTask("topic", records, labels=["long", "short"]),
        NERTask("ner", records, types=TYPES),
    ]


@pytest.fixture
def three(together, separate):
    """A class and tags for the same texts, and questions."""
    return [*together, separate[1]]


@pytest.mark.parametrize("spoil", [math.inf, math.nan])
@pytest.mark.parametrize(("name", "options"), [("UPGrad", {}), ("CAGrad", {"c": 0.4})])
def test_gradients_that_are_not_finite_end_in_the_error_of_the_loop(
    build_model, separate, name, options, spoil
):
    """Some aggregators give NaN for them, others raise an error of linear algebra."""
    their(name, **options)
    model = build_model(separate)
    model.last_shared.register_hook(lambda gradient: gradient * spoil)
    config = replace(JOINT, aggregation=name, aggregation_options=options)
    words = (
        f"the loss or its gradient is not finite at step 1(.|\n)*at what TorchJD's {name} returns"
    )
    with pytest.raises(MTLError, match=words):
        train(model, separate, config, progress=False)


class Own(Aggregation):
    """An aggregation that returns whatever a function makes of the gradients."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, gradients):
        return self.function(gradients)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda gradients: gradients,
            r"Own must return one gradient(.|\n)*a tensor of shape \(2, ",
        ),
        (
            lambda gradients: gradients.sum(0)[1:],
            r"Own must return(.|\n)*found: a tensor of shape \(\d+,\)",
        ),
        (lambda gradients: None, "Own must return one gradient(.|\n)*found: None"),
        (
            lambda gradients: gradients.sum(0) * math.nan,
            "is not finite at step 1(.|\n)*what Own ret",
        ),
    ],
)
def test_what_an_aggregation_of_ones_own_must_not_return(build_model, separate, function, words):
    model = build_model(separate)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(MTLError, match=words):
        train(model, separate, JOINT, aggregation=Own(function), progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("given_", ["pcgrad", PCGrad])
def test_what_is_no_aggregation(build_model, separate, given_):
    with pytest.raises(
        ConfigError, match=r"not an mtl\.Aggregation(.|\n)*Config\(aggregation=...\)"
    ):
        train(build_model(separate), separate, JOINT, aggregation=given_, progress=False)


def test_training_with_torchjd(build_model, three):
    their("UPGrad")
    history = train(build_model(three), three, replace(JOINT, aggregation="upgrad"), progress=False)
    assert sum(history.rounds[-1].losses.values()) < sum(history.rounds[0].losses.values())


# --- in the loop ----------------------------------------------------------------------------------


class Added(Aggregation):
    """The sum, by way of the gradients of each task."""

    def forward(self, gradients):
        return gradients.sum(0)


def test_with_sum_the_step_is_that_of_plain_backward_bit_for_bit(build_model, three):
    """Against a loop of a few lines: losses, one backward, clip, AdamW."""
    config = replace(JOINT, loss_weights={"ner": 0.7, "qa": 2.0}, weight_decay=0.1)
    assert config.aggregation == "sum"
    model, reference = (build_model(three, dropout=0.2) for _ in range(2))
    run, twin = Run(model, three, config), Run(reference, three, config)
    for _ in range(5):
        run.round()
    optimizer = build_optimizer(reference, FixedWeighting(), config)
    torch.manual_seed(config.seed)
    for i in range(5):
        reference.train()
        losses = {}
        for stream in twin.streams:
            losses |= reference.losses(stream.next())
        optimizer.zero_grad()
        pulls = [torch.tensor(config.loss_weights.get(name, 1.0)) for name in losses]
        torch.autograd.backward(list(losses.values()), pulls)
        torch.nn.utils.clip_grad_norm_(reference.parameters(), config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * twin.update.schedule.lr_lambdas[0](i)
        optimizer.step()
    for (name, one), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert torch.equal(one, other), name


def gradients_of(model):
    return {
        name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
    }


def assert_same_gradients(one, other, tolerance=1e-6):
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        assert (gradient is None) == (other[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, other[name], atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("kind", ["separate", "together", "three"])
@pytest.mark.parametrize("private_layers", [0, 1])
def test_the_way_of_separate_gradients_leads_to_the_same_sum(
    build_model, request, kind, private_layers
):
    """Shared parameters and heads alike, step after step; each head keeps its own gradient."""
    tasks = request.getfixturevalue(kind)
    config = replace(JOINT, loss_weights={"ner": 0.5}, batch_size=1, **RAW)
    plain, other = (
        MultiTaskModel(one.encoder, one.tokenizer, tasks, private_layers)
        for one in (build_model([], n_layers=2, dropout=0.2) for _ in range(2))
    )
    by_backward, by_row = Run(plain, tasks, config), Run(other, tasks, config, aggregation=Added())
    without_labels = 0
    for _ in range(10):
        other.load_state_dict(plain.state_dict())  # else what Adam makes of rounding grows
        torch.manual_seed(1)
        by_backward.round()
        torch.manual_seed(1)
        by_row.round()
        expected, found = gradients_of(plain), gradients_of(other)
        assert_same_gradients(found, expected)
        labelled = by_row.history.rounds[-1].losses
        without_labels += len(labelled) < len(tasks)
        for name, gradient in found.items():
            part, _, rest = name.partition(".")
            if part in ("heads", "private"):
                assert (gradient is not None) == (rest.split(".")[0] in labelled), name
    assert without_labels or kind == "separate"


def test_the_heads_keep_the_gradients_of_their_own_losses(build_model, together):
    """Surgery is on shared parameters alone, and on weighted gradients."""
    config = replace(JOINT, aggregation="pcgrad", loss_weights={"ner": 3.0}, **RAW)
    model, other = build_model(together), build_model(together)
    run, twin = Run(model, together, config), Run(other, together, config)
    run.round()
    shared = [p for part in other.shared_parts.values() for p in part]
    losses = other.losses(twin.streams[0].next())
    rows = []
    for name, loss in losses.items():
        weighted = config.loss_weights.get(name, 1.0) * loss
        heads = list(other.heads[name].parameters())
        mine = torch.autograd.grad(weighted, [*shared, *heads], retain_graph=True)
        rows.append(torch.cat([g.flatten() for g in mine[: len(shared)]]))
        for p, gradient in zip(model.heads[name].parameters(), mine[len(shared) :], strict=True):
            torch.testing.assert_close(p.grad, gradient, atol=1e-6, rtol=1e-4)
    a, b = rows
    product_ = torch.minimum(a @ b, torch.tensor(0.0))
    expected = a - product_ / (b @ b) * b + b - product_ / (a @ a) * a
    found = torch.cat([p.grad.flatten() for part in model.shared_parts.values() for p in part])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_a_single_labelled_task_in_a_step_needs_no_surgery(build_model, separate):
    """Nor is there anything to fight over in a training on one task."""
    model = build_model(separate[:1])
    config = replace(JOINT, aggregation="pcgrad", epochs=1)
    plain = build_model(separate[:1])
    for one, settings in ((model, config), (plain, replace(config, aggregation="sum"))):
        train(one, separate[:1], settings, progress=False)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True)
    )


def test_parts_of_a_batch_give_the_same_update_as_the_whole(build_model, three):
    config = replace(JOINT, aggregation="pcgrad", loss_weights={"ner": 0.5}, hide_words=0.0, **RAW)
    whole, parts = build_model(three), build_model(three)
    run = Run(whole, three, config)
    in_parts = Run(parts, three, replace(config, max_tokens=60))
    state = in_parts.streams[1].state_dict()
    assert len(in_parts.streams[1].next_parts(60)) > 1
    in_parts.streams[1].load_state_dict(state)
    for _ in range(3):
        parts.load_state_dict(whole.state_dict())
        run.round()
        in_parts.round()
        assert_same_gradients(gradients_of(parts), gradients_of(whole))
    assert len(in_parts.history.rounds[0].losses) == 3


# --- memory ---------------------------------------------------------------------------------------


def storage(tensor_):
    return tensor_.untyped_storage().data_ptr()


def test_the_gradients_of_shared_parameters_are_the_matrix_itself(build_model, three):
    """While tasks go backward, while they become one, and after: nothing is copied."""
    met = []

    class Watched(PCGrad):
        def forward(self, gradients):
            met.append([storage(p.grad) == storage(gradients) for p in shared])
            assert storage(run.update.shared_gradients.matrix) == storage(gradients)
            return super().forward(gradients)

    model = build_model(three)
    shared = [p for part in model.shared_parts.values() for p in part]
    run = Run(model, three, JOINT, aggregation=Watched())
    run.round()
    matrix = run.update.shared_gradients.matrix
    assert matrix.shape == (3, sum(p.numel() for p in shared))
    assert met == [[True] * len(shared)]
    assert all(storage(p.grad) == storage(matrix) for p in shared)
    assert {storage(p.grad) for p in model.heads.parameters()}.isdisjoint({storage(matrix)})
    where = storage(matrix)
    run.round()
    assert storage(run.update.shared_gradients.matrix) == where


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest new tensor has that an operation makes."""

    def __init__(self, known):
        super().__init__()
        self.known, self.numbers = {storage(known)}, 0

    def __torch_dispatch__(self, operation, types, given_=(), options=None):
        result = operation(*given_, **(options or {}))
        for made in result if isinstance(result, list | tuple) else [result]:
            if isinstance(made, torch.Tensor) and storage(made) not in self.known:
                self.numbers = max(self.numbers, made.untyped_storage().nbytes() // 4)
        return result


def test_pcgrad_makes_no_copy_of_a_gradient(monkeypatch):
    monkeypatch.setattr(aggregation, "COLUMNS", 64)
    rows = some_gradients(3).repeat(1, 100)  # (3, 5000)
    pcgrad = PCGrad()
    with Largest(rows) as largest:
        found = pcgrad(rows)
    assert 0 < largest.numbers <= 3 * 64 < rows.shape[1]
    assert storage(found) == storage(rows)
    with Largest(rows) as largest:
        Added()(rows)
    assert largest.numbers == rows.shape[1]  # what would be found


# --- stopped and resumed --------------------------------------------------------------------------

RESUMED = {
    "pcgrad, random": replace(JOINT, aggregation="pcgrad", weighting="random"),
    "pcgrad, uncertainty": replace(JOINT, aggregation="pcgrad", weighting="uncertainty"),
    "gradnorm": replace(JOINT, weighting="gradnorm", conflict_every=2),
    "dwa": replace(JOINT, weighting="dwa", sampling="alternating"),
    "uncertainty": replace(JOINT, weighting="uncertainty", sampling="sampled", alpha=0.5),
    "random": replace(JOINT, weighting="random", sampling="alternating", conflict_every=3),
}


def result_of(build_model, tasks, config, torch_seed, **options):
    """Weights, what the methods remember, and the history; the torch seed must not matter."""
    model = build_model(tasks, dropout=0.2)
    methods = {"weighting": config.build_weighting(), "aggregation": config.build_aggregation()}
    torch.manual_seed(torch_seed)
    history = train(model, tasks, config, progress=False, **methods, **options)
    states = [model.state_dict(), *(method.state_dict() for method in methods.values())]
    kept = {(i, name): t.clone() for i, state in enumerate(states) for name, t in state.items()}
    return kept, {**history.to_dict(), "seconds": None}


@pytest.mark.parametrize("name", RESUMED)
def test_stopped_after_any_step_it_ends_as_if_it_never_was(
    build_model, three, tmp_path, monkeypatch, name
):
    config = RESUMED[name]
    expected, told = result_of(build_model, three, config, 0)
    n_steps = told["rounds"][-1]["step"]
    for step in sorted(random.Random(f"stop {name}").sample(range(2, n_steps), 3)):
        folder = tmp_path / str(step)
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                result_of(build_model, three, config, 1, checkpoint=folder, save_every=step)
        found, told_too = result_of(build_model, three, config, 2, checkpoint=folder, resume=True)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert torch.equal(value, found[key]), key
        assert told == told_too


@pytest.mark.parametrize("setting", [{"aggregation": "sum"}, {"weighting": "fixed"}])
def test_with_another_method_it_does_not_go_on(build_model, three, tmp_path, setting):
    config = replace(RESUMED["pcgrad, random"], epochs=1)
    result_of(build_model, three, config, 0, checkpoint=tmp_path)
    changed = rf"changed since: train\.{next(iter(setting))}\n"
    with pytest.raises(ConfigError, match=changed):
        result_of(
            *(build_model, three, replace(config, **setting), 0),
            checkpoint=tmp_path,
            resume=True,
        )
