"""How gradients become one: numbers by hand, laws for any gradients, and what is refused."""

import importlib.util
from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
from aggregating import JOINT, some_gradients, their
from hypothesis import assume, given
from hypothesis import strategies as st

from mtl.errors import ConfigError
from mtl.training import aggregation
from mtl.training.aggregation import PCGrad, Sum, build_aggregation

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


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"aggregation": "pcgra"}, 'train.aggregation is unknown(.|\n)*did you mean "pcgrad"'),
        ({"aggregation": 3}, "train.aggregation must be a text(.|\n)*found: 3"),
        (
            {"aggregation": "pcgrad", "aggregation_options": {"sed": 1}},
            'aggregation_options.sed is not an option of pcgrad\n  to do: did you mean "seed"',
        ),
        (
            {"aggregation": "sum", "aggregation_options": {"c": 0.4}},
            "aggregation_options.c is not an option of sum\n  to do: leave it out: sum has no",
        ),
        (
            {"aggregation": "pcgrad", "sampling": "alternating"},
            'PCGrad needs every task\'s gradient in the same(.|\n)*set train.sampling = "joint"',
        ),
        (
            {"aggregation": "pcgrad", "sampling": "sampled"},
            'PCGrad needs every task\'s gradient in the same(.|\n)*set train.sampling = "joint"',
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
            {"aggregation": "UPGrad", "sampling": "alternating"},
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
    with pytest.raises(ConfigError, match=r"aggregation_options\.sed is not an option"):
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
