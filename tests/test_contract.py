"""The contract: a new task and a new weighting need one class each and no other change.

The task, the weighting and the examples below exist in this file alone. They run through the public
loop alternating, joint, partly labelled, windowed, saved, loaded and resumed. Others, in a module
of a user's, run from a recipe: trained, predicted with, evaluated, stopped and resumed.
"""

import csv
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from processes import Process
from torch import nn

from mtl.cli.main import main
from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.inference import evaluate, predict
from mtl.model import MultiTaskModel
from mtl.tasks import Task
from mtl.tasks.ner import NERTask
from mtl.training.loop import Run, TrainConfig, train
from mtl.training.weighting import FixedWeighting, Weighting

CONFIG = TrainConfig(epochs=3, batch_size=4, learning_rate=1e-2, weight_decay=0.5)
BOTH_MODES = pytest.mark.parametrize("sampling", ["alternating", "joint"])


# --- a new kind of example, task and weighting --------------------------------------------------


@dataclass(frozen=True)
class Note:
    """A text, and for each question about it a yes, a no or None (nobody has said)."""

    text: str
    labels: tuple[tuple[str, bool | None], ...]

    @property
    def inputs(self):
        return [(self.text, None)]

    @property
    def group(self):
        return self.text


@dataclass(frozen=True)
class YesOrNo:
    yes: float

    def to_dict(self):
        return {"label": self.yes > 0.5, "score": self.yes}

    def _repr_html_(self):
        return f"<p>{self.yes:.2f}</p>"


class FirstToken(nn.Module):
    """Two logits from [CLS]: `(B, T, D)` to `(B, 2)`."""

    def __init__(self, d_model):
        super().__init__()
        self.classifier = nn.Linear(d_model, 2)

    def forward(self, hidden):
        return self.classifier(hidden[:, 0])


class YesOrNoTask(Task):
    """One question about each whole text; the windows of a text vote."""

    kind = "yes_or_no"
    main_metric = "accuracy"

    def __init__(self, name, dataset=None, threshold=0.5):
        super().__init__(name, dataset)
        self.threshold = threshold

    def build_head(self, d_model):
        return FirstToken(d_model)

    def targets(self, example, rows, notes):
        return [dict(example.labels)[self.name]] * len(rows)

    def collate(self, targets, length):
        return torch.tensor([-100 if target is None else int(target) for target in targets])

    def loss(self, outputs, targets, batch):
        return F.cross_entropy(outputs, targets, ignore_index=-100)

    def decode(self, outputs, batch):
        yes = outputs.softmax(-1)[:, 1]
        sums = torch.zeros(len(batch)).index_add_(0, batch.rows, yes)
        return [YesOrNo(p) for p in (sums / batch.rows.bincount()).tolist()]

    def score(self, examples, predictions):
        labels = [dict(example.labels)[self.name] for example in examples]
        known = [(a, p) for a, p in zip(labels, predictions, strict=True) if a is not None]
        return {"accuracy": sum(a == (p.yes > self.threshold) for a, p in known) / len(known)}

    def settings(self):
        return {"threshold": self.threshold}

    @classmethod
    def read(cls, path, on_error):
        raise NotImplementedError


class Balanced(Weighting):
    """Divides each loss by its running mean (a buffer) and scales it by a learned weight.

    The penalty keeps the learned weights from falling to 0.
    """

    def __init__(self, names):
        super().__init__()
        self.names = list(names)
        self.register_buffer("running", torch.ones(len(self.names)))
        self.log_scale = nn.Parameter(torch.zeros(len(self.names)))
        self.calls = 0
        self.stop_at = None

    def forward(self, losses):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        index = {name: self.names.index(name) for name in losses}
        for name, i in index.items():
            self.running[i] = 0.9 * self.running[i] + 0.1 * losses[name]
        weights = {n: (-self.log_scale[i]).exp() / self.running[i] for n, i in index.items()}
        return weights, self.log_scale[list(index.values())].sum()


# --- the data: partly labelled, some of it longer than the model --------------------------------


def note(i, labelled=(True, True)):
    """A text of 4 to 31 words; `cat`: does it hold a cat, `long`: is it longer than ten words."""
    words = [f"word{(i * 7 + k) % 11}" for k in range(4 + (i * 9) % 28)]
    has_cat = i % 2 == 0
    if has_cat:
        words[i % len(words)] = "cat"
    answers = (has_cat if labelled[0] else None, len(words) > 10 if labelled[1] else None)
    return Note(" ".join(words), tuple(zip(("cat", "long"), answers, strict=True)))


HALF = [(True, True), (True, False), (False, True), (False, False)]
NOTES = Dataset(
    train=[note(i, HALF[i // 3 % 4]) for i in range(24)], validation=[note(i) for i in range(8)]
)


@pytest.fixture(scope="module")
def names(sentences):
    """A second dataset, so that there is something to alternate with."""
    return Dataset(train=sentences[:10], validation=sentences[10:14])


@pytest.fixture
def tasks(names):
    """Two tasks that share a dataset, and one with its own."""
    return [
        YesOrNoTask("cat", NOTES),
        NERTask("ner", names, types=["LOC", "MISC", "ORG", "PER"]),
        YesOrNoTask("long", NOTES, threshold=0.4),
    ]


@pytest.fixture(scope="module")
def build(build_model, sentences):
    """Makes models that read at most 16 tokens at once; dropout is on."""
    texts = [*(example.text for example in NOTES.train), *(example.text for example in sentences)]
    tokenizer = WhitespaceTokenizer.train(texts)
    return lambda tasks, **settings: build_model(
        tasks, tokenizer=tokenizer, **({"max_length": 16, "dropout": 0.3} | settings)
    )


def weights_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


# --- the contract -------------------------------------------------------------------------------


@BOTH_MODES
def test_it_trains(build, tasks, sampling):
    model, weighting = build(tasks), Balanced(["cat", "ner", "long"])
    before = weights_of(model)
    config = replace(CONFIG, sampling=sampling)
    history = train(model, tasks, config, weighting=weighting, progress=False)
    n_rounds = 3 * 6  # 24 notes in batches of 4 are the longest dataset
    assert len(history.rounds) == n_rounds
    assert weighting.calls == history.rounds[-1].step
    assert weighting.calls <= n_rounds * (2 if sampling == "alternating" else 1)
    # Counted are labelled examples: half of 24 notes an epoch; 10 sentences, twice an epoch.
    assert history.rounds[-1].examples == {"cat": 3 * 12, "ner": 3 * 2 * 10, "long": 3 * 12}
    assert moved(before, weights_of(model)) >= {f"heads.{n}.classifier.weight" for n in model.tasks}
    assert (weighting.running != 1).all()
    assert (weighting.log_scale != 0).all()
    assert [list(scores) for scores in history.validation] == [["cat", "ner", "long"]] * 3


def test_it_learns(build):
    task = YesOrNoTask("cat", Dataset(train=[note(i) for i in range(12)]))
    model = build([task], dropout=0.0, max_length=64)
    config = replace(CONFIG, epochs=40, weight_decay=0.0, hide_words=0.0)
    history = train(model, [task], config, progress=False)
    assert history.rounds[-1].total < 0.3 * history.rounds[0].total


def test_one_encoder_pass_serves_both_heads(build, tasks):
    model = build(tasks)
    run = Run(model, tasks, CONFIG, FixedWeighting())
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(6):
        run.round()
    assert [[task.name for task in stream.tasks] for stream in run.streams] == [
        ["cat", "long"],
        ["ner"],
    ]
    assert len(calls) == 12


def test_rows_without_a_label_have_no_say(build):
    """The loss of a batch with unlabelled rows is that of its labelled rows alone."""
    labelled = [note(i) for i in range(3)]
    unlabelled = [note(i, (False, False)) for i in range(3, 6)]
    losses = []
    for examples in (labelled, labelled + unlabelled):
        task = YesOrNoTask("cat", Dataset(train=examples))
        model = build([task], dropout=0.0, max_length=64)
        items, _ = encode_examples(examples, model.tokenizer, [task], 64)
        losses.append(model.losses(collate(items, model.tokenizer, [task]))["cat"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@BOTH_MODES
def test_a_task_without_a_label_in_a_batch_takes_no_part(build, names, sampling):
    """One batch labels `cat`, the other `long`: each time the other head stands still."""
    data = Dataset(train=[note(1, (True, False)), note(2, (False, True))])
    tasks = [YesOrNoTask("cat", data), YesOrNoTask("long", data)]
    model = build(tasks)
    run = Run(model, tasks, replace(CONFIG, batch_size=1, sampling=sampling), FixedWeighting())
    trained = []
    for _ in range(6):
        before = weights_of(model)
        (name,) = run.round()
        other = {"cat": "long", "long": "cat"}[name]
        assert all(p.grad is not None for p in model.heads[name].parameters())
        assert all(p.grad is None for p in model.heads[other].parameters())
        changed = moved(before, weights_of(model))
        assert {f"heads.{name}.classifier.weight"} <= changed
        assert not {w for w in changed if w.startswith(f"heads.{other}")}
        trained.append(name)
    assert sorted(trained) == ["cat"] * 3 + ["long"] * 3
    assert run.history.rounds[-1].examples == {"cat": 3, "long": 3}


@BOTH_MODES
def test_a_batch_without_any_label_moves_nothing(build, sampling):
    data = Dataset(train=[note(1), note(2, (False, False))])
    task = YesOrNoTask("cat", data)
    model, weighting = build([task]), Balanced(["cat"])
    run = Run(model, [task], replace(CONFIG, batch_size=1, sampling=sampling), weighting)
    unlabelled = 0
    for _ in range(6):
        before, rate = weights_of(model), run.update.schedule.get_last_lr()
        losses = run.round()
        if not losses:
            assert not moved(before, weights_of(model))
            assert run.update.schedule.get_last_lr() == rate
            unlabelled += 1
    assert unlabelled == 3
    assert run.step == weighting.calls == 3


def test_choices_are_made_on_the_main_metric_unless_a_task_says_otherwise(build):
    class Either(YesOrNoTask):
        main_metric = "precision"

        def main_score(self, scores):
            return "accuracy", 2 * scores["accuracy"]

    tasks = [YesOrNoTask("cat", NOTES), Either("long", NOTES)]
    scores = {"accuracy": 0.25, "precision": 0.75}
    assert tasks[0].main_score(scores) == ("accuracy", 0.25)
    run = Run(build(tasks), tasks, CONFIG, FixedWeighting())
    assert run.joint_score({"cat": scores, "long": scores}) == (0.25 + 2 * 0.25) / 2


def test_long_texts_are_read_in_windows(build, tasks):
    model = build(tasks)
    run = Run(model, tasks, CONFIG, FixedWeighting())
    assert max(len(item.rows) for item in run.streams[0].items) > 2
    texts = [example.text for example in NOTES.train]
    predictions = predict(model, texts, tasks=["cat", "long"])
    assert len(predictions) == len(texts)
    assert all(p.keys() == {"cat", "long"} for p in predictions)
    assert evaluate(model, "cat", NOTES.validation).keys() == {"accuracy"}


def test_saved_and_loaded_it_is_the_same(build, tasks, tmp_path):
    model = build(tasks)
    train(model, tasks, replace(CONFIG, epochs=1), progress=False)
    model.save_pretrained(tmp_path / "model")
    loaded = MultiTaskModel.from_pretrained(tmp_path / "model")
    assert not moved(weights_of(model), weights_of(loaded))
    assert loaded.tasks["long"].threshold == 0.4
    assert type(loaded.tasks["cat"]) is YesOrNoTask
    texts = [example.text for example in NOTES.validation]
    assert predict(loaded, texts) == predict(model, texts)
    assert evaluate(loaded, "long", NOTES.validation) == evaluate(model, "long", NOTES.validation)


# --- interrupted and resumed --------------------------------------------------------------------


def run_to_the_end(build, tasks, config, stop_at=None, **options):
    """Train a fresh model with a fresh weighting; what remains of it at the end."""
    model, weighting = build(tasks), Balanced(["cat", "ner", "long"])
    weighting.stop_at = stop_at
    history = train(model, tasks, config, weighting=weighting, progress=False, **options)
    told = {**history.to_dict(), "seconds": None}
    return weights_of(model), weights_of(weighting), told


@BOTH_MODES
@pytest.mark.parametrize("stopped_in_epoch", [1, 2, 3])
def test_resumed_it_ends_as_if_never_stopped(build, tasks, tmp_path, sampling, stopped_in_epoch):
    config = replace(CONFIG, sampling=sampling)
    weights, weighting, history = run_to_the_end(build, tasks, config)
    steps_per_epoch = history["rounds"][-1]["step"] // 3
    stop_at = steps_per_epoch * (stopped_in_epoch - 1) + steps_per_epoch // 2
    with pytest.raises(KeyboardInterrupt):
        run_to_the_end(build, tasks, config, stop_at=stop_at, checkpoint=tmp_path)
    torch.manual_seed(999)  # another process
    resumed = run_to_the_end(build, tasks, config, checkpoint=tmp_path, resume=True)
    assert not moved(weights, resumed[0])
    assert not moved(weighting, resumed[1])
    assert history == resumed[2]
    assert len(history["validation"]) == 3


def test_stopped_twice(build, tasks, tmp_path):
    expected = run_to_the_end(build, tasks, CONFIG)
    per_epoch = expected[2]["rounds"][-1]["step"] // 3
    for stop_at in (per_epoch + 2, per_epoch + 3):  # the second counts from where it went on
        with pytest.raises(KeyboardInterrupt):
            run_to_the_end(build, tasks, CONFIG, stop_at=stop_at, checkpoint=tmp_path, resume=True)
    resumed = run_to_the_end(build, tasks, CONFIG, checkpoint=tmp_path, resume=True)
    assert not moved(expected[0], resumed[0])
    assert expected[2] == resumed[2]


def test_resuming_a_finished_run_gives_its_best_weights(build, tasks, tmp_path):
    weights, _, history = run_to_the_end(build, tasks, CONFIG, checkpoint=tmp_path)
    again = run_to_the_end(build, tasks, CONFIG, checkpoint=tmp_path, resume=True)
    assert not moved(weights, again[0])
    assert history == again[2]


def test_without_resume_a_checkpoint_is_not_read(build, tasks, tmp_path):
    weights, _, history = run_to_the_end(build, tasks, CONFIG, checkpoint=tmp_path)
    again = run_to_the_end(build, tasks, CONFIG, checkpoint=tmp_path)
    assert not moved(weights, again[0])
    assert history == again[2]
    assert len(again[2]["rounds"]) == 18


# --- from a recipe ------------------------------------------------------------------------------

RECIPE = """
[tasks.length]
kind = "mymodule:LengthTask"
toy = "news"
toy_train = 24
toy_held_out = 6
step = 0.25

[tasks.ner]
kind = "ner"
toy = "ner"
toy_train = 16
toy_held_out = 6

[encoder]
d_model = 16
n_heads = 2
n_layers = 1

[train]
epochs = 2
batch_size = 8
sampling = "joint"
weighting = "mymodule:Scaled"
weighting_options = {factor = 0.3}
aggregation = "mymodule:Mean"
"""


def run_mtl(*arguments):
    """The command `mtl` in a process of its own; its exit status, stdout and stderr."""
    return Process(main, list(arguments)).finish()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with `mymodule.py`, `my.toml` and the run that `mtl train my.toml` made of them."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(Path(__file__).with_name("own_classes.py"), folder / "mymodule.py")
    (folder / "my.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        status, _, err = run_mtl("train", "my.toml", "--output", "run")
    assert status == 0, err
    return folder


def test_a_recipe_trains_it(trained):
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert metrics["test"].keys() == {"length", "ner"}
    assert metrics["test"]["length"].keys() == {"within_one"}
    config = json.loads((trained / "run" / "config.json").read_text())
    assert config["tasks"]["length"] == {"kind": "mymodule:LengthTask", "step": 0.25}
    with (trained / "run" / "training_metrics.csv").open() as file:
        first = next(csv.DictReader(file))
    assert float(first["length_weight"]) == pytest.approx(0.3)


def test_its_model_predicts_and_is_evaluated(trained, monkeypatch):
    monkeypatch.chdir(trained)
    text = ("predict", "run", "--task", "length", "--text", "four words are here", "--json")
    status, _, err = run_mtl(*text)
    assert status == 1
    assert "--import mymodule" in err
    status, out, err = run_mtl(*text, "--import", "mymodule")
    assert status == 0, err
    assert json.loads(out)["words"] % 0.25 == 0
    status, out, err = run_mtl("evaluate", "run", "--import", "mymodule", "--json")
    assert status == 0, err
    metrics = json.loads(Path("run/metrics.json").read_text())
    found = {name: scores["model"] for name, scores in json.loads(out).items()}
    assert found == {name: pytest.approx(scores) for name, scores in metrics["test"].items()}


def test_stopped_and_resumed_it_ends_with_the_same_weights(trained, monkeypatch):
    monkeypatch.chdir(trained)
    again = ("train", "my.toml", "--output", "again")
    monkeypatch.setenv("STOP_AT", "5")  # in the second epoch
    assert run_mtl(*again)[0] == 130
    assert not Path("again/model.safetensors").exists()
    monkeypatch.delenv("STOP_AT")
    status, _, err = run_mtl(*again, "--resume")
    assert status == 0, err
    assert "nothing to resume" not in err
    first, second = (Path(run, "model.safetensors").read_bytes() for run in ("run", "again"))
    assert first == second
