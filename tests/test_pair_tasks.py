"""PairTask: a task of premises and hypotheses that is defined here alone, until its use."""

import json
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F

import mtl
from mtl.cli.interactive import interact
from mtl.data.encoded import encode_examples
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError
from mtl.inference.evaluation import evaluate_baselines
from mtl.metrics import accuracy
from mtl.nn.heads import SequenceClassificationHead, merge_rows
from mtl.tasks import NERTask, PairTask
from mtl.tasks.pairs import other_texts


@dataclass(frozen=True)
class Claim:
    """What one text says about another; `label` is None where nobody has said."""

    premise: str
    hypothesis: str
    label: str | None = None

    @property
    def inputs(self):
        return [(self.premise, self.hypothesis)]

    @property
    def group(self):
        return self.premise


@dataclass(frozen=True)
class Verdict:
    premise: str
    hypothesis: str
    label: str
    score: float

    def to_dict(self):
        return {"label": self.label, "score": self.score}


class EntailmentTask(PairTask):
    """Does the premise say what the hypothesis says?"""

    kind = "tests_entailment"
    main_metric = "accuracy"
    example = Claim
    text_names = ("premise", "hypothesis")
    answers_with = "yes or no"
    labels = ("no", "yes")

    def build_head(self, d_model):
        return SequenceClassificationHead(d_model, len(self.labels))

    def run_head(self, head, hidden, batch):
        return head(hidden, batch.attention_mask)

    def is_labelled(self, example):
        return example.label is not None

    def targets(self, example, rows, notes):
        return [self.labels.index(example.label) if example.label else None] * len(rows)

    def collate(self, targets, length):
        return torch.tensor([-100 if target is None else target for target in targets])

    def loss(self, outputs, targets, batch):
        return F.cross_entropy(outputs, targets, ignore_index=-100)

    def decode(self, outputs, batch):
        means = merge_rows(outputs.softmax(-1), batch.rows, len(batch))
        scores, best = means.max(-1)
        said = zip(batch.items, best.tolist(), scores.tolist(), strict=True)
        return [Verdict(*item.example.inputs[0], self.labels[i], p) for item, i, p in said]

    def score(self, examples, predictions):
        return {"accuracy": accuracy([e.label for e in examples], [p.label for p in predictions])}


NAMES = ["Ann", "Bob", "Eve", "Kim"]


def claim(i, labelled=True):
    """True where the premise's animal is the hypothesis's; some hypotheses are long."""
    animal = ("cat", "dog")[i % 2]
    other = ("cat", "dog")[i // 2 % 2]
    long = " ".join(["and so on"] * (6 if i % 5 == 0 else 1))
    label = "yes" if animal == other else "no"
    name = NAMES[i // 4 % 4]
    return Claim(f"{name} has a {animal}", f"a {other} {long}", label if labelled else None)


DATA = mtl.Dataset(
    train=[claim(i, labelled=i % 3 > 0) for i in range(48)],
    validation=[claim(i) for i in range(48, 60)],
    test=[claim(i) for i in range(60, 72)],
)
PREMISE, HYPOTHESIS = "Ann has a cat", "a dog and so on"


@pytest.fixture(scope="module")
def build(build_model):
    """Makes models that read at most 16 tokens at once."""
    tokenizer = WhitespaceTokenizer.train(DATA.training_texts())
    settings = {"max_length": 16, "overlap": 2}
    return lambda tasks: build_model(tasks, tokenizer=tokenizer, **settings)


@pytest.fixture(scope="module")
def model(build):
    """With a task that reads single texts beside it."""
    sentences = [mtl.NERExample(["Ann", "has", "a", "cat"], ["B-PER", "O", "O", "O"])] * 4
    tasks = [EntailmentTask("nli", DATA), NERTask("ner", mtl.Dataset(sentences))]
    model = build(tasks)
    config = mtl.TrainConfig(epochs=40, batch_size=8, learning_rate=2e-2, hide_words=0.0)
    history = mtl.train(model, tasks, config, progress=False)
    assert history.rounds[-1].examples["nli"] == 40 * 32  # those that are labelled
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("nli") / "model"
    model.save_pretrained(path)
    return path


def test_it_learns_and_is_scored_in_windows(model):
    rows = [item.rows for item in encode_examples(DATA.test, model.tokenizer, [], 16, 2)[0]]
    assert max(map(len, rows)) > 1
    assert mtl.evaluate(model, "nli", DATA.test)["accuracy"] > 0.9


def test_saved_and_loaded_it_is_the_same(model, folder):
    loaded = mtl.MultiTaskModel.from_pretrained(folder)
    assert type(loaded.tasks["nli"]) is EntailmentTask
    pairs = [(example.premise, example.hypothesis) for example in DATA.test]
    assert mtl.predict(loaded, pairs) == mtl.predict(model, pairs)


def test_a_model_that_ignores_the_premise_would_be_seen(model):
    """With another premise, the right answer is often another; a cheat would not notice."""
    table = evaluate_baselines(model, "nli", DATA.test)
    changed = EntailmentTask("nli").controls(DATA.test)["model_with_other_premise"]
    for example in changed:
        before = [e for e in DATA.test if replace(e, premise=example.premise) == example]
        assert all(e.premise != example.premise for e in before)
        assert before
    assert table["model_with_other_premise"] == mtl.evaluate(model, "nli", changed)
    assert table["model_with_other_premise"]["accuracy"] < 0.9


def test_there_is_no_control_without_fields_of_these_names():
    class Unnamed(EntailmentTask):
        text_names = ("one", "two")

    assert Unnamed("nli").controls(DATA.test) == {}


def test_other_texts_are_no_longer():
    texts = ["a b c", "a", "d e", "d e", "f"]
    assert other_texts(texts) == ["d e", "f", "f", "f", "a"]
    assert other_texts(["a", "a"]) == [None, None]


# --- its use --------------------------------------------------------------------------------------


def test_predict_takes_a_pair(model):
    prediction = mtl.predict(model, (PREMISE, HYPOTHESIS))
    assert list(prediction) == ["nli"]
    assert prediction["nli"].label == "no"
    assert (prediction["nli"].premise, prediction["nli"].hypothesis) == (PREMISE, HYPOTHESIS)
    assert mtl.answer(model, PREMISE, HYPOTHESIS, task="nli") == prediction["nli"]
    with pytest.raises(ConfigError, match=r"(?s)'nli' reads pairs.*\(premise, hypothesis\)"):
        mtl.predict(model, PREMISE, "nli")


def test_on_the_command_line(model, folder, mtl_):
    expected = mtl.predict(model, (PREMISE, HYPOTHESIS), "nli")["nli"]
    pair = ("--text", PREMISE, "--text-pair", HYPOTHESIS)
    for task in ((), ("--task", "nli"), ("--task", "tests_entailment")):
        status, out, _ = mtl_("predict", folder, *task, *pair, "--json")
        assert (status, json.loads(out)) == (0, expected.to_dict())
    out = mtl_("predict", folder, *pair)[1]
    assert out.startswith(
        f"task: nli (tests_entailment)\ninput: {PREMISE} | {HYPOTHESIS}\nprediction: "
    )
    status, out, err = mtl_("predict", folder, "--task", "nli", "--text", PREMISE)
    assert (status, out) == (2, "")
    assert "give --text and --text-pair" in err
    status, out, err = mtl_("predict", folder, "--text-pair", PREMISE)
    assert (status, out) == (2, "")
    assert "--text-pair goes with --text" in err


def test_in_the_menu(model):
    expected = mtl.predict(model, (PREMISE, HYPOTHESIS))
    seen, typed = [], iter(["1", PREMISE, HYPOTHESIS, "1", "Bob has a dog", "", "q"])
    interact(model, lambda prompt: seen.append(prompt) or next(typed), seen.append)
    assert "nli: yes or no" in seen[0]
    assert seen[2:4] == ["premise: ", "hypothesis: "]
    assert f"\n{expected}\n" in seen
    assert "hypothesis (Enter: same as before): " in seen
    assert f"\n{mtl.predict(model, ('Bob has a dog', HYPOTHESIS))}\n" in seen


def test_a_pair_needs_an_encoder_with_two_segments(build_model):
    with pytest.raises(ConfigError, match="pairs of texts have two segments"):
        build_model([EntailmentTask("nli")], n_types=1)
