"""Where it is computed and with how many bits: what is chosen, refused, and what it costs."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mtl import devices
from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.devices import autocast, choose_device, choose_precision, is_out_of_memory
from mtl.errors import ConfigError, MTLError
from mtl.nn.attention import MultiHeadSelfAttention, attention
from mtl.nn.config import EncoderConfig
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.loop import Run, TrainConfig, train
from mtl.training.preflight import check_training
from mtl.training.weighting import FixedWeighting

CPU = torch.device("cpu")
TYPES = ["LOC", "MISC", "ORG", "PER"]
FAST = TrainConfig(epochs=2, batch_size=8, learning_rate=1e-2, device="cpu")


@pytest.fixture
def tasks(sentences, questions):
    return [
        NERTask("ner", Dataset(train=sentences[:16], validation=sentences[16:24]), types=TYPES),
        QATask("qa", Dataset(train=questions[:16], validation=questions[16:24])),
    ]


@pytest.fixture
def machine(monkeypatch):
    """Pretend that the machine has just these devices besides its CPU."""

    def has(*names):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)

    return has


# --- what is chosen -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "chosen"),
    [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("cuda", "mps"), "cuda")],
)
def test_auto_takes_the_first_device_that_is_there(machine, there, chosen):
    machine(*there)
    assert choose_device() == choose_device("auto") == torch.device(chosen)
    for name in (*there, "cpu"):
        assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("there", "asked", "listed"),
    [((), "cuda", "cpu"), ((), "mps", "cpu"), (("mps",), "cuda", "mps, cpu")],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    machine, build_model, tasks, there, asked, listed
):
    machine(*there)
    config = TrainConfig(device=asked)  # it may be for another machine
    for refuse in (check_training, train):
        with pytest.raises(ConfigError, match=f"no device '{asked}'.*\n  found: {listed}\n"):
            refuse(build_model(tasks), tasks, config)


@pytest.mark.parametrize(
    ("key", "value", "nearest"),
    [
        ("device", "cude", "cuda"),
        ("device", "cuda:", "cuda"),
        ("device", "cuda:x", "cuda"),
        ("device", "cpu:0", "cpu"),
        ("precision", "bfloat", "bfloat16"),
        ("precision", "float61", "float16"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(key, value, nearest):
    choose = {"device": choose_device, "precision": lambda name: choose_precision(name, CPU)}[key]
    for refuse in (lambda: TrainConfig(**{key: value}), lambda: choose(value)):
        with pytest.raises(ConfigError, match=f'found: .{value}.\n.*did you mean "{nearest}"'):
            refuse()


@pytest.mark.parametrize(
    ("device", "has_bfloat16", "chosen"),
    [
        ("cpu", True, torch.bfloat16),
        ("cpu", False, torch.float32),
        ("mps", False, torch.float32),
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float16),
    ],
)
def test_auto_takes_what_the_device_is_fast_in(monkeypatch, device, has_bfloat16, chosen):
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: has_bfloat16)
    device = torch.device(device)
    assert choose_precision("auto", device) == chosen
    assert choose_precision("float32", device) == torch.float32
    assert choose_precision("bfloat16", device) == torch.bfloat16


def test_float16_is_for_cuda(build_model, tasks):
    config = replace(FAST, precision="float16")
    with pytest.raises(ConfigError, match="float16 is for CUDA\n  found: device cpu\n"):
        train(build_model(tasks), tasks, config, progress=False)
    assert choose_precision("float16", torch.device("cuda")) == torch.float16


# --- half the bits --------------------------------------------------------------------------------


def test_trained_in_bfloat16_the_loss_falls_and_weights_and_logits_stay_float32(build_model, tasks):
    model = build_model(tasks, dropout=0.1)
    types = set()
    for head in model.heads.values():
        head.register_forward_pre_hook(lambda _, given: types.add(("read", given[0].dtype)))
    layer = model.encoder.layers[0].feed_forward.expand
    layer.register_forward_hook(
        lambda layer, _, out: types.add(("trained" if layer.training else "used", out.dtype))
    )
    run = Run(model, tasks, replace(FAST, precision="bfloat16"), FixedWeighting())
    with autocast(CPU, torch.bfloat16):
        batch = run.streams[1].next()
        logits = model(batch, ["qa"])["qa"]
    assert {tensor.dtype for tensor in logits} == {torch.float32}
    assert {loss.dtype for loss in model.losses(batch).values()} == {torch.float32}
    types.clear()
    history = train(model, tasks, replace(FAST, epochs=12, precision="bfloat16"), progress=False)
    # Validation is in the precision of the weights, as the test and use are.
    assert types == {("read", torch.float32), ("trained", torch.bfloat16), ("used", torch.float32)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {r.grad.dtype for r in model.parameters() if r.grad is not None} == {torch.float32}
    first, last = history.rounds[0], history.rounds[-1]
    assert all(last.losses[name] < 0.9 * first.losses[name] for name in ("ner", "qa"))


def test_bfloat16_and_float32_start_with_nearly_the_same_loss_and_gradient(build_model, tasks):
    first = {}
    for precision in ("float32", "bfloat16"):
        config = replace(FAST, precision=precision, hide_words=0.0)
        run = Run(build_model(tasks), tasks, config, FixedWeighting())
        run.round()
        first[precision] = run.history.rounds[0]
    one, other = first.values()
    assert one.losses != other.losses
    assert one.losses == pytest.approx(other.losses, rel=0.02)
    assert one.grad_norm == pytest.approx(other.grad_norm, rel=0.05)


def test_on_a_device_without_bfloat16_auto_is_float32(build_model, tasks, monkeypatch):
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: False)
    weights = []
    for precision in ("auto", "float32"):
        model = build_model(tasks)
        config = replace(FAST, precision=precision)
        train(model, tasks, config, progress=False)
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_run_says_where_it_computes_and_how(build_model, tasks):
    config = replace(FAST, precision="bfloat16")
    run = Run(build_model(tasks), tasks, config, FixedWeighting())
    assert run.describe() == f"cpu, bfloat16, 1 thread; {run.streams.describe_epoch()}"


@given(seed=st.integers(0, 99), p=st.sampled_from([0.1, 0.5, 0.9]))
def test_attention_with_dropout_in_bfloat16_is_the_fused_one(seed, p):
    """The same weights are set to zero, and what is mixed is as close as bfloat16 can tell."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 2, 2, 5, 4, generator=generator).bfloat16().unbind(0)
    v = torch.eye(5).bfloat16().expand(2, 2, 5, 5)  # what is mixed is then the weights themselves
    mask = torch.rand(2, 1, 1, 5, generator=generator) < 0.8
    mask[..., 0] = True
    torch.manual_seed(seed)
    mixed, weights = attention(q, k, v, mask, p)
    torch.manual_seed(seed)
    fused = F.scaled_dot_product_attention(q, k, v, mask, p)
    assert torch.equal(mixed == 0, fused == 0)
    torch.testing.assert_close(mixed, weights.type_as(mixed))
    torch.testing.assert_close(mixed.float(), fused.float(), atol=0.02, rtol=0.02)


def test_the_layer_takes_the_readable_way_only_in_training_on_a_cpu_in_bfloat16(monkeypatch):
    layer = MultiHeadSelfAttention(EncoderConfig(9, d_model=8, n_heads=2, dropout=0.5))
    fused = F.scaled_dot_product_attention
    calls = []
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *args: (calls.append(1), fused(*args))[1]
    )
    x = torch.randn(2, 3, 8)
    for dtype, training, uses_fused in [
        (torch.bfloat16, True, False),
        (torch.bfloat16, False, True),
        (torch.float32, True, True),
    ]:
        calls.clear()
        layer.train(training)
        with autocast(CPU, dtype):
            assert layer(x, None).dtype == dtype
        assert bool(calls) is uses_fused


def test_attention_dropout_is_of_the_attention_alone(build_model, tasks, tokenizer):
    """Without it, dropout 0 elsewhere leaves nothing random; with it, it is in training alone."""
    items, _ = encode_examples(tasks[0].dataset.train[:4], tokenizer, tasks[:1], 64)
    batch = collate(items, tokenizer, tasks[:1])
    read = (batch.input_ids, batch.attention_mask, batch.token_type_ids)

    def differs(**settings):
        encoder = build_model(tasks, **settings).encoder.train()
        return not torch.equal(encoder(*read), encoder(*read))

    assert not differs(dropout=0.0)
    assert differs(dropout=0.0, attention_dropout=0.5)
    assert differs(dropout=0.5, attention_dropout=0.0)
    shapes = {"dropout": 0.3}, {"dropout": 0.3, "attention_dropout": 0.0}
    first, second = (build_model(tasks, **shape).encoder.layers[0] for shape in shapes)
    assert (first.attention.dropout, second.attention.dropout) == (0.3, 0.0)
    assert first.dropout.p == second.dropout.p == 0.3


# --- no memory left -------------------------------------------------------------------------------

CPU_SAYS = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB."


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (RuntimeError(CPU_SAYS), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_means_that_no_memory_is_left(error, is_memory):
    assert is_out_of_memory(error) is is_memory


@pytest.mark.parametrize(
    "error", [RuntimeError(CPU_SAYS), torch.OutOfMemoryError("CUDA out of memory."), MemoryError()]
)
def test_without_memory_the_run_ends_with_what_to_set(build_model, tasks, monkeypatch, error):
    model = build_model(tasks)

    def no_memory(batch):
        if "qa" in batch.targets:
            raise error
        return losses(batch)

    losses = model.losses
    monkeypatch.setattr(model, "losses", no_memory)
    config = replace(FAST, max_tokens=700, precision="bfloat16")
    with pytest.raises(MTLError, match="not enough memory for a step of qa") as told:
        train(model, tasks, config, progress=False)
    settings = ("train.batch_size 8", "train.max_tokens 700", "encoder.max_length 64", "'bfloat16'")
    for words in (*settings, "cpu, bfloat16", "set train.max_tokens", "lower encoder.max_length"):
        assert words in str(told.value)
    assert told.value.__cause__ is error


def test_what_memory_there_is_can_really_run_out():
    """An error of PyTorch's own, not one that a test made up."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert is_out_of_memory(error.value)


def test_other_errors_pass_through(build_model, tasks, monkeypatch):
    def broken(batch):
        raise RuntimeError("shapes cannot be multiplied")

    model = build_model(tasks)
    monkeypatch.setattr(model, "losses", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(model, tasks, FAST, progress=False)


@pytest.mark.parametrize(("precision", "sizes"), [("float32", []), ("bfloat16", [32, 64])])
def test_half_precision_has_few_shapes(build_model, sentences, precision, sizes):
    """Kernels are built for a shape; in float32 nothing is padded more than it has to be."""
    task = NERTask("ner", Dataset(train=sentences))
    config = TrainConfig(precision=precision, device="cpu")
    run = Run(build_model([task]), [task], config, FixedWeighting())
    assert list(run.streams[0].sizes) == sizes
