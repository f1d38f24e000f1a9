"""Several processes train as one would: the same updates, one set of files, one end.

The processes fork from a server that has loaded torch (`processes.py`), and each set of them runs
all scenarios of its kind, since to start them takes longer than to train.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest
import torch
from processes import Process
from recipes import ner_and_qa
from small_training import same_weights
from torch.distributed import TCPStore

import mtl
from mtl.cli.main import main
from mtl.errors import ConfigError, MTLError
from mtl.toy import ner_examples, qa_examples
from mtl.training import preflight, ranks
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.run import Run
from mtl.training.step import Update

TYPES = ["LOC", "MISC", "ORG", "PER"]
SENTENCES, QUESTIONS = ner_examples("train", 30), qa_examples("train", 30)
TEXTS = [e.text for e in SENTENCES] + [t for e in QUESTIONS for t in (e.question, e.context)]
STEPS = 20
FAST = TrainConfig(epochs=8, batch_size=8, learning_rate=1e-2, device="cpu")
JOINT = replace(FAST, sampling="joint", epochs=20)


def alike():
    """17 sentences, so that the last batch of a pass is a single one, and 20 questions."""
    return [
        mtl.NERTask("ner", mtl.Dataset(train=SENTENCES[:17]), types=TYPES),
        mtl.QATask("qa", mtl.Dataset(train=QUESTIONS[:20])),
    ]


def partly_labelled():
    """Records of which most lack a label, so that often a share of a batch has none."""
    records = [
        mtl.TextExample(e.text, e.tokens, None if i % 5 else "ab"[i % 2], None if i % 3 else e.tags)
        for i, e in enumerate(SENTENCES)
    ]
    shared = mtl.Dataset(train=records)
    return [
        mtl.ClassificationTask("topic", shared, labels=["a", "b"]),
        mtl.QATask("qa", mtl.Dataset(train=QUESTIONS[:20])),
        mtl.NERTask("ner", shared, types=TYPES),
    ]


def compared():
    """Pairs of which each is a wrong answer to all others, and sentences."""
    pairs = [mtl.PairExample(e.text, f"{e.text} again") for e in SENTENCES[:17]]
    return [mtl.EmbeddingTask("vector", mtl.Dataset(train=pairs)), alike()[0]]


SCENARIOS = {
    "alternating": (alike, FAST),
    "joint": (alike, JOINT),
    "sampled": (alike, replace(FAST, sampling="sampled", alpha=0.5)),
    "partly labelled": (partly_labelled, FAST),
    "partly labelled, joint": (partly_labelled, JOINT),
    "pcgrad": (partly_labelled, replace(JOINT, aggregation="pcgrad", conflict_every=5)),
    "in parts": (partly_labelled, replace(FAST, max_tokens=60)),
    "in parts, pcgrad": (partly_labelled, replace(JOINT, aggregation="pcgrad", max_tokens=60)),
    "uncertainty": (partly_labelled, replace(FAST, weighting="uncertainty")),
    "gradnorm": (partly_labelled, replace(JOINT, weighting="gradnorm")),
    "dwa": (alike, replace(FAST, weighting="dwa")),
    "compared": (compared, FAST),
    "compared, joint": (compared, JOINT),
}


FOUR = list(SCENARIOS)[:6]  # enough for four processes
SINGLE = [*list(SCENARIOS)[:4], "pcgrad"]  # in float32 too


def build(tasks, dropout=0.0):
    torch.manual_seed(0)
    tokenizer = mtl.WhitespaceTokenizer.train(TEXTS)
    shape = {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_length": 24, "dropout": dropout}
    encoder = mtl.TransformerEncoder(mtl.EncoderConfig(len(tokenizer), **shape))
    return mtl.MultiTaskModel(encoder, tokenizer, tasks)


def steps_of(scenario, dtype=torch.float64):
    """What twenty steps leave behind. In float32 with plain SGD: Adam makes noise as large as any
    gradient where the true one is 0."""
    make, config = SCENARIOS[scenario]
    tasks = make()
    run = Run(build(tasks).to(dtype), tasks, config)
    run.update.weighting.to(dtype)
    if dtype == torch.float32:
        update = run.update
        update.optimizer = torch.optim.SGD(update.trained, lr=0.1)
        update.schedule = torch.optim.lr_scheduler.LambdaLR(update.optimizer, update.factor)
    while run.step < STEPS and not run.is_finished:
        run.next_step()
        if run.epoch_ended:
            run.finish_epoch()
    rounds = run.history.rounds
    return {
        "weights": run.model.state_dict(),
        "weighting": dict(run.update.weighting.state_dict()),
        "losses": [r.losses for r in rounds],
        "norms": [r.grad_norm for r in rounds],
        "examples": [r.examples for r in rounds],
        "conflict": [m.cosine | m.ratio for r in rounds for m in r.conflict.values()],
        "step": run.step,
    }


def passes_of(make):
    """For each dataset, the numbers of the examples that this process reads in a pass."""
    tasks = make()
    run = Run(build(tasks), tasks, FAST)
    return [
        [
            item.name
            for _ in range(stream.batches_per_pass)
            for batch in run.streams.batches((i,))[0]
            for item in batch.items
        ]
        for i, stream in enumerate(run.streams)
    ]


def drawn_in_a_step():
    """What dropout would draw next, after a step."""
    tasks = alike()
    Run(build(tasks), tasks, FAST).next_step()
    return torch.rand(()).item()


def validated(folder, resume=False, copy=False, epochs=3):
    """A training with dropout and validation, whose state is copied after a few steps."""
    data = mtl.Dataset(train=SENTENCES[:20], validation=SENTENCES[20:])
    tasks = [mtl.NERTask("ner", data, types=TYPES), alike()[1]]
    model = build(tasks, dropout=0.2)
    told = []

    def on_round(history):
        told.append(len(history.rounds))
        if copy and len(history.rounds) == 5:  # in the middle of an epoch
            shutil.copytree(folder, f"{folder}-copy")

    history = train(
        *(model, tasks, replace(FAST, epochs=epochs)),
        checkpoint=folder,
        save_every=1,
        resume=resume,
        on_round=on_round,
        progress=False,
    )
    rounds = [replace(r, conflict={}) for r in history.rounds]
    return {
        "weights": model.state_dict(),
        "validation": history.validation,
        "best": history.best_epoch,
        "losses": [r.losses for r in rounds],
        "told": told,
    }


def all_scenarios(folder):
    """What every process does; its findings go into a file."""
    with ranks.started():
        found = {"passes": [passes_of(alike), passes_of(compared)], "drawn": drawn_in_a_step()}
        found |= {name: steps_of(name) for name in (FOUR if ranks.world() == 4 else SCENARIOS)}
        if ranks.world() == 2:
            found |= {f"{name}, float32": steps_of(name, torch.float32) for name in SINGLE}
            found["validated"] = validated(f"{folder}/state", copy=True)
            found["again"] = validated(f"{folder}/state-again")
            found["resumed"] = validated(f"{folder}/state-copy", resume=True)
        torch.save(found, f"{folder}/rank{ranks.rank()}.pt")


def start(n, function, *arguments):
    """`n` processes that know of each other as if torchrun had started them."""
    # Kept here, not by the first of them, so that it is there after that one has failed.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    given = {"WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    given |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
    processes = []
    for rank in range(n):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**given, "RANK": rank, "LOCAL_RANK": rank}.items():
                patch.setenv(name, str(value))
            processes.append(Process(function, *arguments))
            processes[-1].store = store  # lives as long as they do
    return processes


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """A function that gives what each of so many processes found."""

    @cache
    def of(n):
        folder = tmp_path_factory.mktemp(f"ranks{n}")
        for process in start(n, all_scenarios, str(folder)):
            status, _, err = process.finish(timeout=120)
            assert status == 0, err
        # Written by this file: nothing foreign is unpickled.
        return [torch.load(folder / f"rank{i}.pt", weights_only=False) for i in range(n)]

    return of


@pytest.fixture
def found(findings, request):
    """The same, for a number of processes that is a parameter."""
    return findings(request.param)


@pytest.fixture(scope="module")
def alone():
    """What one process finds."""
    return {name: steps_of(name) for name in SCENARIOS} | {
        f"{name}, float32": steps_of(name, torch.float32) for name in SINGLE
    }


COMPARED = [(2, name) for name in SCENARIOS] + [(4, name) for name in FOUR]


@pytest.mark.parametrize(("found", "name"), COMPARED, indirect=["found"])
def test_they_make_the_updates_of_one_process(found, alone, name):
    # GradNorm keeps its losses in float32.
    in_double = 1e-6 if name == "gradnorm" else 1e-10
    for scenario, close in ((name, in_double), (f"{name}, float32", 1e-6)):
        if scenario not in found[0]:
            continue
        expected = alone[scenario]
        assert expected["step"] == STEPS
        got = found[0][scenario]
        for what in ("weights", "weighting"):
            assert got[what].keys() == expected[what].keys()
            for key, tensor in expected[what].items():
                torch.testing.assert_close(got[what][key], tensor, atol=close, rtol=close, msg=key)
        for what in ("losses", "norms", "conflict"):
            assert len(got[what]) == len(expected[what])
            for one, other in zip(got[what], expected[what], strict=True):
                assert one == pytest.approx(other, rel=1e3 * close, abs=1e3 * close)
        assert got["examples"] == expected["examples"]


@pytest.mark.parametrize("found", [2, 4], indirect=True)
def test_all_have_the_same_weights_to_the_bit(found):
    for other in found[1:]:
        for name, of_scenario in found[0].items():
            if isinstance(of_scenario, dict):
                for key, tensor in of_scenario["weights"].items():
                    assert torch.equal(tensor, other[name]["weights"][key])
                assert of_scenario["losses"] == other[name]["losses"]


@pytest.mark.parametrize("found", [2, 4], indirect=True)
def test_each_example_is_read_by_one_process_in_a_pass(found):
    for numbered, sizes in ((0, (17, 20)), (1, (17, 17))):
        shares = [of_rank["passes"][numbered] for of_rank in found]
        for dataset, n in enumerate(sizes):
            read = [name for of_rank in shares for name in of_rank[dataset]]
            assert len(read) == len(set(read)) == n
    # Where pairs are compared, all of them are one process's; the sentences are shared out.
    assert [len(pairs) > 0 for pairs, _ in shares].count(True) == 1
    assert all(sentences for _, sentences in shares)


@pytest.mark.parametrize("found", [2], indirect=True)
def test_a_run_can_be_repeated_and_resumed_to_the_bit(found):
    for of_rank in found:
        first = of_rank["validated"]
        for other in (of_rank["again"], of_rank["resumed"]):
            assert same_weights(first["weights"], other["weights"])
            for what in ("validation", "best", "losses"):
                assert first[what] == other[what]
        assert same_weights(first["weights"], found[0]["validated"]["weights"])
        assert first["validation"] == found[0]["validated"]["validation"]


@pytest.mark.parametrize("found", [2], indirect=True)
def test_only_the_first_process_is_called_back(found):
    n_rounds = len(found[0]["validated"]["losses"])
    assert found[0]["validated"]["told"] == list(range(1, n_rounds + 1))
    assert found[0]["resumed"]["told"] == list(range(5, n_rounds + 1))
    assert not any(of_rank["validated"]["told"] for of_rank in found[1:])


@pytest.mark.parametrize("found", [2, 4], indirect=True)
def test_each_process_has_its_own_dropout(found):
    assert len({of_rank["drawn"] for of_rank in found}) == len(found)


# --- the command line, and what can go wrong ------------------------------------------------------

RECIPE = ner_and_qa(24, 8, epochs=2, batch_size=8, device="cpu")


def after_steps(n, do):
    """From the update after `n` others on, `do` comes before it."""
    update = Update.__call__

    def patched(self, *arguments):
        if self.step == n:
            do(self)
        return update(self, *arguments)

    Update.__call__ = patched


def refuse(update):
    raise MTLError("something is wrong here")


def die(update):
    os.kill(os.getpid(), signal.SIGKILL)


def spoil(update):
    losses = update.model.losses
    update.model.losses = lambda batch: {n: k * float("nan") for n, k in losses(batch).items()}


def change_weights(update):
    with torch.no_grad():
        next(update.model.parameters()).view(-1)[0] += 1e-6


FAULTS = {
    "an error": (refuse, "rank 1: something is wrong here"),
    "killed": (die, "another process of this training has ended"),
    "not finite": (spoil, "the loss or its gradient is not finite at step 6"),
    "drifted apart": (change_weights, "the processes no longer have the same weights"),
}


def command_with(fault, *arguments):
    """The command, with a fault in the second process after five steps."""
    ranks.HEARD_OUT = 0.2  # here no torchrun ends the others before one has said what was wrong
    if fault and os.environ["RANK"] == "1":
        after_steps(5, FAULTS[fault][0])
    return main(["train", *arguments])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_all_and_the_run_can_go_on(fault, recipe, tmp_path):
    _, message = FAULTS[fault]
    output = ["--output", str(tmp_path / "run"), "--save-every-steps", "2"]
    ended = [p.finish(timeout=30) for p in start(2, command_with, fault, recipe, *output)]
    assert all(status for status, _, _ in ended)
    # One of them says it, and nobody shows a traceback.
    told = [err for _, _, err in ended]
    assert "".join(told).count(message) == "".join(told).count("mtl: error: ") == 1, told
    assert "Traceback" not in "".join(told)
    resumed = [p.finish() for p in start(2, command_with, "", recipe, *output, "--resume")]
    assert [status for status, _, _ in resumed] == [0, 0], resumed
    assert "resuming after epoch" in resumed[0][2]
    assert (resumed[1][1], resumed[1][2]) == ("", "")  # only the first says anything
    assert set(json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]) == {"ner", "qa"}
    again = [p.finish() for p in start(2, command_with, "", recipe, *output, "--resume")]
    assert [status for status, _, _ in again] == [0, 0], again
    assert "there is nothing to resume" in again[0][2]


def test_a_fault_that_all_have_is_told_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(RECIPE.replace("epochs", "epoch"))
    ended = [p.finish() for p in start(2, command_with, "", str(path))]
    assert [status for status, _, _ in ended] == [2, 2]
    assert "".join(err for _, _, err in ended).count("mtl: error: ") == 1


def test_processes_that_train_different_things_stop(recipe, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    first, second = start(2, train_own, recipe, str(other), str(tmp_path / "run"))
    ended = [first.finish(), second.finish()]
    assert all(status for status, _, _ in ended)
    assert "other than in the first: train.epochs" in ended[0][2] + ended[1][2]
    assert not (tmp_path / "run").exists()


def train_own(recipe, other, output):
    ranks.HEARD_OUT = 0.2
    return main(["train", other if os.environ["RANK"] == "1" else recipe, "--output", output])


def test_one_process_continues_what_two_began(recipe, tmp_path, mtl_, no_curves):
    output = ["--output", str(tmp_path / "run"), "--save-every-steps", "2"]
    for process in start(2, command_with, "an error", recipe, *output):
        process.finish(timeout=30)
    status, _, err = mtl_("train", recipe, *output, "--resume")
    assert status == 0
    assert "resuming after epoch" in err


@pytest.mark.slow  # torchrun and its processes load torch, one after the other
def test_torchrun_on_two_machines(recipe, tmp_path):
    """Two agents, as on two machines, with a process each; only the first has the output."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    launch += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    agents = [
        subprocess.Popen(
            [*launch, f"--node-rank={i}", "-m", "mtl", "train", recipe, "--output", f"run{i}"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    told = [agent.communicate(timeout=300)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0]
    assert "it is in run0" in told[0]
    assert not told[1]
    assert [path.name for path in tmp_path.iterdir()] == ["run0"]


def test_a_process_that_was_not_started_right_says_so(recipe, monkeypatch, mtl_):
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, err = mtl_("train", recipe)
    assert status == 2
    assert "WORLD_SIZE = 2 says that several processes train together" in err
    assert "start them with torchrun" in err
    status, _, err = mtl_("compare", recipe)
    assert (status, "start it without torchrun" in err) == (2, True)


def test_a_numbered_gpu_is_not_shared(monkeypatch):
    monkeypatch.setattr(preflight, "world", lambda: 2)
    preflight._check_shared_device(torch.device("cuda"))
    for name in ("cuda:0", "mps"):
        with pytest.raises(ConfigError, match="2 processes cannot train together on the device"):
            preflight._check_shared_device(torch.device(name))
