"""How gradients become one: numbers by hand, laws for any gradients, the loop, its memory."""

import importlib.util
import math
import random
from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from stopping import stop_after
from torch.utils._python_dispatch import TorchDispatchMode

from mtl.data.dataset import Dataset
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, MTLError
from mtl.model import MultiTaskModel
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training import aggregation
from mtl.training.aggregation import Aggregation, PCGrad, Sum, build_aggregation
from mtl.training.loop import Run, TrainConfig, train
from mtl.training.optimizer import build_optimizer
from mtl.training.weighting import FixedWeighting

TYPES = ["LOC", "MISC", "ORG", "PER"]
JOINT = TrainConfig(epochs=3, batch_size=6, learning_rate=1e-2, steps="joint", device="cpu")
RAW = {"clip_norm": 1e9}  # gradients stay as backward left them


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


# --- by hand --------------------------------------------------------------------------------------


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def surgery(rows, orders):
    """Algorithm 1 of the paper in plain numbers: `orders[i]` is in what order task i meets them."""
    projected = [list(row) for row in rows]
    for i, order in enumerate(orders):
        for j in order:
            product_ = sum(a * b for a, b in zip(projected[i], rows[j], strict=True))
            if j != i and product_ < 0:
                square = sum(b * b for b in rows[j])
                projected[i] = [
                    a - product_ / square * b for a, b in zip(projected[i], rows[j], strict=True)
                ]
    return tuple(round(sum(column), 6) + 0.0 for column in zip(*projected, strict=True))


BY_HAND = [
    ("sum", [(1, -2), (3, 5)], (4, 3)),
    ("sum", [(1, -2), (3, 5), (-4, 0)], (0, 3)),
    # no conflict: 1 * 1 + 0 * 1 = 1
    ("pcgrad", [(1, 0), (1, 1)], (2, 1)),
    # at a right angle: no conflict either
    ("pcgrad", [(2, 0), (0, 3)], (2, 3)),
    # product -1: (1, 0) + 1/2 (-1, 1) = (0.5, 0.5), and (-1, 1) + 1/1 (1, 0) = (0, 1)
    ("pcgrad", [(1, 0), (-1, 1)], (0.5, 1.5)),
    # product -4, squares 4 and 5: (2, 0) + 4/5 (-2, 1) = (0.4, 0.8), (-2, 1) + 4/4 (2, 0) = (0, 1)
    ("pcgrad", [(2, 0), (-2, 1)], (0.4, 1.8)),
    # opposite: nothing of either is left
    ("pcgrad", [(1, 0), (-3, 0)], (0, 0)),
    # as the fifth, and a third at a right angle to both
    ("pcgrad", [(1, 0, 0), (-1, 1, 0), (0, 0, 2)], (0.5, 1.5, 2)),
    # a third that agrees with both
    ("pcgrad", [(1, 0), (1, 1), (0, 2)], (2, 3)),
    # the first against the second alone, (4, 0) + 4/2 (-1, 1) = (2, 2); the second against the
    # first, (-1, 1) + 4/16 (4, 0) = (0, 1); the third, (1, 1), at a right angle to the second
    ("pcgrad", [(4, 0), (-1, 1), (1, 1)], (3, 4)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "rows", "expected"), BY_HAND)
def test_the_numbers_are_those_worked_out_by_hand(name, rows, expected, dtype):
    for seed in range(4):
        found = build_aggregation(name, {}, seed)(tensor(rows).to(dtype))
        assert found.tolist() == pytest.approx(list(expected), abs=1e-6)


def test_the_order_in_which_three_tasks_meet_decides_and_every_order_comes():
    rows = [(1, 0), (-1, 2), (-1, -3)]  # each against each
    orders = list(permutations(range(3)))
    possible = {surgery(rows, three) for three in product(orders, repeat=3)}
    assert len(possible) == 8  # two for each task
    # The first before the second, then the third: (1, 0) + 1/5 (-1, 2) = (0.8, 0.4), whose product
    # with (-1, -3) is -2: (0.8, 0.4) + 2/10 (-1, -3) = (0.6, -0.2).
    assert surgery(rows, [(1, 2), (), ()]) == pytest.approx((0.6 - 2, -0.2 - 1))
    pcgrad = PCGrad()
    found = [tuple(pcgrad(tensor(rows)).tolist()) for _ in range(200)]
    assert {tuple(round(x, 6) + 0.0 for x in gradient) for gradient in found} == possible


def test_pcgrad_draws_from_a_generator_of_its_own_that_is_saved():
    rows = tensor([(1, 0), (-1, 2), (-1, -3)])
    before = torch.get_rng_state()

    def following(pcgrad):
        return [pcgrad(rows.clone()).tolist() for _ in range(12)]

    one, same, other = PCGrad(seed=0), PCGrad(seed=0), PCGrad(seed=1)
    first = following(one)
    assert first == following(same)
    assert first != following(other)
    other.load_state_dict(one.state_dict())
    assert following(other) == following(one)
    assert torch.equal(before, torch.get_rng_state())


# --- TorchJD --------------------------------------------------------------------------------------


def their(name, **options):
    """A new aggregator of TorchJD."""
    jd = pytest.importorskip("torchjd.aggregation")
    try:
        return getattr(jd, name)(**options)
    except ImportError as error:
        pytest.skip(str(error))


def some_gradients(n_tasks, seed=0):
    """Some of them against each other."""
    return torch.randn(n_tasks, 50, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_tasks", [2, 3])
@pytest.mark.parametrize(
    ("name", "options"),
    [("UPGrad", {}), ("MGDA", {}), ("ConFIG", {}), ("CAGrad", {"c": 0.4}), ("PCGrad", {})],
)
def test_an_aggregator_of_torchjd_by_its_name_in_any_case(name, options, n_tasks):
    direct, gradients = their(name, **options), some_gradients(n_tasks)
    spellings = {name, name.lower(), name.upper()} - {"pcgrad"}  # which is ours
    torch.manual_seed(0)
    expected = direct(gradients.clone())
    for spelling in spellings:
        torch.manual_seed(0)
        ours = build_aggregation(spelling, options, 0)
        assert ours.needs_joint_steps
        torch.testing.assert_close(ours(gradients.clone()), expected, atol=1e-6, rtol=1e-6)


def test_options_reach_the_aggregator_of_torchjd():
    their("CAGrad", c=0.4)
    found = [build_aggregation("cagrad", {"c": c}, 0)(some_gradients(3)) for c in (0.0, 0.9)]
    assert not torch.allclose(*found, atol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_pcgrad_of_two_tasks_is_that_of_torchjd(seed):
    gradients = some_gradients(2, seed)
    expected = their("PCGrad")(gradients.clone())
    torch.testing.assert_close(PCGrad()(gradients), expected, atol=1e-6, rtol=1e-6)


def test_pcgrad_of_three_tasks_is_one_that_torchjd_may_give():
    theirs, gradients = their("PCGrad"), some_gradients(3)
    possible = [theirs(gradients.clone()) for _ in range(60)]
    for seed in range(20):
        found = PCGrad(seed)(gradients.clone())
        assert min((found - other).abs().max().item() for other in possible) < 1e-6


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
    with pytest.raises(ConfigError, match=r"no aggregation(.|\n)*TrainConfig\(aggregation=...\)"):
        train(build_model(separate), separate, JOINT, aggregation=given_, progress=False)


def test_training_with_torchjd(build_model, three):
    their("UPGrad")
    history = train(build_model(three), three, replace(JOINT, aggregation="upgrad"), progress=False)
    assert sum(history.rounds[-1].losses.values()) < sum(history.rounds[0].losses.values())


# --- laws for any gradients -----------------------------------------------------------------------

NUMBERS = st.floats(-1, 1, width=32).filter(lambda x: x == 0 or abs(x) > 1e-6)
SCALES = st.floats(-15, 15).map(lambda power: 10**power)


ONE_TO_FOUR = st.integers(1, 4)


@st.composite
def gradients(draw, n_tasks=ONE_TO_FOUR):
    """Rows of numbers, each row with a scale of its own, from 1e-15 to 1e15."""
    m, n = draw(n_tasks), draw(st.integers(1, 6))
    rows = draw(st.lists(st.lists(NUMBERS, min_size=n, max_size=n), min_size=m, max_size=m))
    scales = draw(st.lists(SCALES, min_size=m, max_size=m))
    return (
        torch.tensor(rows, dtype=torch.float32) * torch.tensor(scales, dtype=torch.float32)[:, None]
    )


@given(rows=gradients(), name=st.sampled_from(["sum", "pcgrad"]))
def test_what_comes_out_is_finite(rows, name):
    longest = rows.norm(dim=1).sum()
    found = build_aggregation(name, {}, 0)(rows)
    assert found.isfinite().all()
    assert found.norm() <= longest * (1 + 1e-5)  # a projection makes nothing longer


@pytest.mark.parametrize("tiny", [1e-45, 1e-40, 1e-38, 1e-30])
def test_a_row_at_the_end_of_what_floats_can_say_is_harmless(tiny):
    for other in (1.0, -1.0, -1e15):
        found = PCGrad()(torch.tensor([[tiny, 0.0], [other, 1.0]]))
        kept = [other, 1.0] if other > 0 else [0.0, 1.0]
        assert found.tolist() == pytest.approx(kept, abs=abs(other) * 1e-6)


@given(rows=gradients(n_tasks=st.just(1)), name=st.sampled_from(["sum", "pcgrad"]))
def test_the_gradient_of_a_single_task_stays_as_it_is(rows, name):
    plain = rows[0].clone()
    found = build_aggregation(name, {}, 0)(rows)
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=plain.abs().max().item() * 1e-7)


@given(rows=gradients(), data=st.data())
def test_the_sum_does_not_depend_on_the_order_of_the_tasks(rows, data):
    order = data.draw(st.permutations(range(len(rows))))
    found = Sum()(rows[order])
    tolerance = rows.abs().max().item() * 1e-6
    torch.testing.assert_close(found, Sum()(rows), rtol=0, atol=tolerance)


@given(rows=gradients(n_tasks=st.just(2)))
def test_pcgrad_of_two_tasks_goes_against_neither(rows):
    given_ = rows.double()
    found = PCGrad()(rows).double()
    lengths = given_.norm(dim=1)
    assert all((given_ @ found) >= -1e-5 * lengths * lengths.sum())


@given(rows=gradients(n_tasks=st.just(2)), place=st.integers(0, 2))
def test_a_task_without_a_gradient_is_harmless(rows, place):
    with_zeros = torch.cat([rows[:place], torch.zeros(1, rows.shape[1]), rows[place:]])
    tolerance = rows.abs().max().item() * 1e-5
    assume(tolerance > 0)
    torch.testing.assert_close(PCGrad()(with_zeros), PCGrad()(rows), rtol=1e-5, atol=tolerance)


def test_nothing_comes_of_nothing():
    assert PCGrad()(torch.zeros(3, 4)).tolist() == [0.0] * 4


@given(rows=gradients(), columns=st.integers(1, 7))
def test_it_does_not_matter_in_how_many_pieces_the_rows_are_read(rows, columns):
    whole = PCGrad()(rows.clone())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregation, "COLUMNS", columns)
        found = PCGrad()(rows.clone())
    tolerance = rows.abs().max().item() * 1e-5
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=tolerance)


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
        torch.nn.utils.clip_grad_norm_(reference.parameters(), config.clip_norm)
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
    "dwa": replace(JOINT, weighting="dwa", steps="alternating"),
    "uncertainty": replace(JOINT, weighting="uncertainty", steps="sampled", alpha=0.5),
    "random": replace(JOINT, weighting="random", steps="alternating", conflict_every=3),
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
    for stop_at in sorted(random.Random(f"stop {name}").sample(range(2, n_steps), 3)):
        folder = tmp_path / str(stop_at)
        with monkeypatch.context() as patch:
            stop_after(patch, stop_at)
            with pytest.raises(KeyboardInterrupt):
                result_of(build_model, three, config, 1, checkpoint=folder, save_every=1)
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


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"aggregation": "pcgra"}, 'train.aggregation is unknown(.|\n)*did you mean "pcgrad"'),
        ({"aggregation": 3}, "train.aggregation must be a text(.|\n)*found: 3"),
        (
            {"aggregation": "pcgrad", "aggregation_options": {"sed": 1}},
            'aggregation_options.sed is unknown, of pcgrad\n  to do: did you mean "seed"',
        ),
        (
            {"aggregation": "sum", "aggregation_options": {"c": 0.4}},
            "aggregation_options.c is unknown, of sum\n  to do: it has no options",
        ),
        (
            {"aggregation": "pcgrad", "steps": "alternating"},
            'PCGrad needs every task\'s gradient in the same(.|\n)*set train.steps = "joint"',
        ),
        (
            {"aggregation": "pcgrad", "steps": "sampled"},
            'PCGrad needs every task\'s gradient in the same(.|\n)*set train.steps = "joint"',
        ),
    ],
)
def test_what_a_config_refuses(settings, words):
    with pytest.raises(ConfigError, match=words):
        replace(JOINT, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"aggregation": "upgra"}, 'is unknown(.|\n)*did you mean "UPGrad"'),
        ({"aggregation": "UPGRA"}, 'is unknown(.|\n)*did you mean "UPGrad"'),
        ({"aggregation": "mgd"}, 'is unknown(.|\n)*did you mean "MGDA"'),
        ({"aggregation": "GramianWeightedAggregator"}, "train.aggregation is unknown"),
        (
            {"aggregation": "UPGrad", "aggregation_options": {"x": 1}},
            "TorchJD cannot make UPGrad(.|\n)*'x'(.|\n)*to do: (.|\n)*train.aggregation_options",
        ),
        (
            {"aggregation": "UPGrad", "steps": "alternating"},
            "TorchJD's UPGrad needs every task's gradient in the same step(.|\n)*= \"joint\"",
        ),
    ],
)
def test_what_a_config_refuses_where_torchjd_is_installed(settings, words):
    pytest.importorskip("torchjd")
    with pytest.raises(ConfigError, match=words):
        replace(JOINT, **settings)


@pytest.mark.parametrize("options", [{}, {"c": -1.0}, {"c": "much"}])
def test_cagrad_says_what_it_needs(options):
    their("CAGrad", c=0.4)
    words = r"TorchJD cannot make CAGrad(.|\n)*train.aggregation_options = \{c = 0.4\}"
    with pytest.raises(ConfigError, match=words):
        replace(JOINT, aggregation="CAGrad", aggregation_options=options)


def test_without_torchjd_the_error_names_the_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torchjd" else find(name, *a)
    )
    words = (
        r"train.aggregation is unknown\n  found: 'UPGrad'(.|\n)*use one of pcgrad, sum; "
        r"UPGrad, CAGrad, MGDA and others needs the extra 'torchjd' of mtl: pip install torchjd"
    )
    with pytest.raises(ConfigError, match=words):
        replace(JOINT, aggregation="UPGrad")
    assert type(replace(JOINT, aggregation="pcgrad").build_aggregation()) is PCGrad
    with pytest.raises(ConfigError, match=r"aggregation_options\.sed is unknown"):
        replace(JOINT, aggregation="pcgrad", aggregation_options={"sed": 1})


def test_an_aggregator_whose_own_library_is_missing_says_which(monkeypatch):
    jd = pytest.importorskip("torchjd.aggregation")

    class Missing(jd.Aggregator):
        forward = None  # not abstract

        def __init__(self):
            raise ImportError("pip install torchjd[config]")

    monkeypatch.setattr(aggregation, "torchjd_aggregators", lambda: {"ConFIG": Missing})
    words = r"TorchJD cannot make config\n  found: pip install torchjd(.|\n)*install what it names"
    with pytest.raises(ConfigError, match=words):
        build_aggregation("config", {}, 0)
