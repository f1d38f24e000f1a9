"""Sentence embedding: unit vectors, the contrastive loss by hand, and its scores."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import PairExample, TextExample
from mtl.errors import ConfigError, DataError
from mtl.inference import encode, evaluate, evaluate_baselines, predict
from mtl.model import MultiTaskModel
from mtl.tasks.embedding import (
    Embedding,
    EmbeddingTask,
    Similarity,
    text_numbers,
    vectors_of_texts,
)
from mtl.tasks.ner import NERTask
from mtl.training.loop import TrainConfig, train

LONG = " ".join(["word"] * 50 + [","] * 50 + ["NATO"] * 50) + " ."  # its windows differ
OTHER_LONG = " ".join(f"word{i}" for i in range(100)) + " ."


@pytest.fixture(scope="module")
def model(build_model):
    return build_model([EmbeddingTask("vector", width=6)], embedding_std=1.0).eval()


@pytest.fixture(scope="module")
def texts(sentences):
    """Texts of very different lengths, more than one batch of them, in no order."""
    cut = [" ".join(e.tokens[: 1 + i % 7]) for i, e in enumerate(sentences)]
    texts = [LONG, *cut, "Ann", *(e.text for e in sentences), OTHER_LONG, *reversed(cut)]
    assert len(texts) > 60
    return texts


def batch_of(examples, model, tasks):
    items, _ = encode_examples(examples, model.tokenizer, tasks, model.encoder.config.max_length)
    return collate(items, model.tokenizer, tasks)


# --- vectors --------------------------------------------------------------------------------------


def test_encode_gives_unit_vectors_in_the_order_of_the_texts(model, texts):
    vectors = encode(model, texts)
    assert vectors.dtype == torch.float32
    assert vectors.shape == (len(texts), 6)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(texts)))
    for text, vector in zip(texts, vectors, strict=True):
        torch.testing.assert_close(encode(model, text), vector, atol=1e-5, rtol=0)
    different = [vectors[i] @ vectors[j] for i, j in ((0, 1), (1, 2), (2, 3))]
    assert max(different) < 0.999


def test_encode_gives_the_vectors_of_predict(model, texts):
    predictions = [p["vector"] for p in predict(model, texts)]
    assert [p.text for p in predictions] == texts
    assert torch.equal(torch.tensor([p.vector for p in predictions]), encode(model, texts))


def test_one_text_gives_one_vector_and_no_text_none(model):
    assert encode(model, "Ann").shape == (6,)
    assert encode(model, ["Ann"]).shape == (1, 6)
    assert encode(model, []).shape == (0, 6)


@pytest.mark.parametrize(("width", "wanted"), [(0, 16), (5, 5), (40, 40)])
def test_vectors_have_the_width_of_the_task(build_model, width, wanted):
    model = build_model([EmbeddingTask("vector", width=width)])
    assert encode(model, ["Ann", "Bob"]).shape == (2, wanted)
    assert encode(model, []).shape == (0, wanted)
    assert len(predict(model, "Ann")["vector"].vector) == wanted


def test_a_model_without_an_embedding_task_gives_the_mean_of_its_hidden_states(build_model):
    model = build_model([NERTask("ner", types=["PER"])], embedding_std=1.0).eval()
    texts = ["Ann met Bob in Oslo .", "Ann"]
    expected = []
    for text in texts:
        (row,) = model.tokenizer.rows((text, None), 64)
        hidden = model.encoder(
            torch.tensor([row.input_ids]), None, torch.tensor([row.token_type_ids])
        )
        expected.append(hidden[0].mean(0) / hidden[0].mean(0).norm())
    torch.testing.assert_close(encode(model, texts), torch.stack(expected))
    assert encode(model, LONG).norm() == pytest.approx(1)


def test_the_vector_of_a_long_text_is_the_normed_mean_of_its_windows(model):
    batch = batch_of([TextExample(LONG)], model, [])
    windows = model(batch, ["vector"])["vector"]
    assert len(windows) == 4
    torch.testing.assert_close(windows.norm(dim=1), torch.ones(4))
    mean = windows.mean(0)
    assert mean.norm() < 0.999
    torch.testing.assert_close(encode(model, LONG), mean / mean.norm(), atol=1e-5, rtol=0)


def test_encoded_vectors_can_be_trained_on(model):
    vectors = encode(model, ["Ann", "Bob"])
    assert not vectors.is_inference()
    assert not vectors.requires_grad
    layer = torch.nn.Linear(6, 1)
    layer(vectors).sum().backward()
    torch.testing.assert_close(layer.weight.grad[0], vectors.sum(0))
    vectors.requires_grad_().square().sum().backward()
    assert vectors.grad is not None


def test_encode_names_the_task_it_needs(build_model):
    vectors = [EmbeddingTask("one", width=3), EmbeddingTask("two", width=4)]
    model = build_model([*vectors, NERTask("ner", types=["PER"])])
    assert encode(model, "Ann", task="two").shape == (4,)
    with pytest.raises(ConfigError, match="several tasks give vectors"):
        encode(model, "Ann")
    with pytest.raises(ConfigError, match="gives no vectors"):
        encode(model, "Ann", task="ner")
    with pytest.raises(ConfigError, match='did you mean "two"'):
        encode(model, "Ann", task="tow")
    with pytest.raises(DataError, match="text 2 is empty"):
        encode(model, ["Ann", " "], task="one")


def test_settings_and_vectors_survive_saving(build_model, tmp_path, texts):
    model = build_model([EmbeddingTask("vector", width=6, temperature=0.2)]).eval()
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.tasks["vector"].settings() == {"width": 6, "temperature": 0.2}
    assert torch.equal(encode(loaded, texts), encode(model, texts))


# --- loss -----------------------------------------------------------------------------------------

WORDS = ["Ann", "Bob", "Oslo", "Rome"]
PAIRS = st.lists(
    st.builds(
        PairExample,
        st.sampled_from(WORDS),
        st.sampled_from(WORDS + [f"{word} ." for word in WORDS]),
        st.sampled_from([None, None, 1.0, 0.25, 0.0, -1.0]),
    ),
    min_size=1,
    max_size=6,
)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def loss_by_hand(pairs, first, second, temperature):
    """A double loop over pairs; another pair with a sentence of this one is left out.

    Args:
        first, second: a vector, of any length, for each pair.
    """
    n = len(pairs)
    total = 0.0
    for i in range(n):
        own = cosine(first[i], second[i])
        if pairs[i].score is not None:
            total += (own - pairs[i].score) ** 2
            continue
        for a, b in ((first, second), (second, first)):
            own_sentences = {pairs[i].first, pairs[i].second}
            wrong = [
                j for j in range(n) if own_sentences.isdisjoint({pairs[j].first, pairs[j].second})
            ]
            scores = [math.exp(cosine(a[i], b[j]) / temperature) for j in wrong]
            right = math.exp(own / temperature)
            total -= math.log(right / (right + sum(scores))) / 2
    return total / n


@given(pairs=PAIRS, seed=st.integers(0, 1000), temperature=st.sampled_from([0.05, 0.5, 2.0]))
def test_the_loss_equals_a_double_loop(model, pairs, seed, temperature):
    task = EmbeddingTask("vector", temperature=temperature)
    batch = batch_of(pairs, model, [task])
    outputs = torch.randn(2 * len(pairs), 3, generator=torch.Generator().manual_seed(seed))
    loss = task.loss(outputs, batch.targets["vector"], batch)
    by_hand = loss_by_hand(pairs, outputs[0::2].tolist(), outputs[1::2].tolist(), temperature)
    assert loss.item() == pytest.approx(by_hand, rel=1e-4, abs=1e-4)


def test_pairs_without_scores_are_a_classification_in_both_directions(model):
    task = EmbeddingTask("vector", temperature=0.1)
    batch = batch_of([PairExample(f"a{i}", f"b{i}") for i in range(3)], model, [task])
    outputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    first, second = F.normalize(outputs[0::2]), F.normalize(outputs[1::2])
    logits = first @ second.T / 0.1
    right = torch.arange(3)
    expected = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    torch.testing.assert_close(task.loss(outputs, batch.targets["vector"], batch), expected)


@pytest.mark.parametrize(
    "twin",
    [
        *(PairExample("a", "b"), PairExample("a", "other"), PairExample("other", "b")),
        *(PairExample("b", "a"), PairExample("other", "a"), PairExample("b", "other")),
    ],
    ids=str,
)
def test_the_same_sentence_in_another_pair_is_no_wrong_answer(model, twin):
    """However close the other pair's sentences are, the loss does not push them away."""
    task = EmbeddingTask("vector")
    batch = batch_of([PairExample("a", "b"), twin], model, [task])
    outputs = torch.eye(4)[[0, 1, 0, 1]].requires_grad_()
    loss = task.loss(outputs, batch.targets["vector"], batch)
    loss.backward()
    assert loss.item() == 0
    assert not outputs.grad.any()
    stranger = batch_of([PairExample("a", "b"), PairExample("c", "d")], model, [task])
    pushed = task.loss(torch.eye(4)[[0, 1, 0, 1]], stranger.targets["vector"], stranger)
    assert pushed.item() == pytest.approx(math.log(2))


def test_a_scored_pair_costs_the_squared_error_of_its_cosine(model):
    task = EmbeddingTask("vector")
    batch = batch_of([PairExample("a", "b", 0.5), PairExample("c", "d", -1)], model, [task])
    outputs = torch.tensor([[2.0, 0.0], [3.0, 4.0], [1.0, 0.0], [0.0, 5.0]])
    loss = task.loss(outputs, batch.targets["vector"], batch)
    assert loss.item() == pytest.approx(((0.6 - 0.5) ** 2 + (0 + 1) ** 2) / 2)


def test_a_score_of_zero_is_a_score(model):
    batch = batch_of([PairExample("a", "b", 0)], model, [model.tasks["vector"]])
    loss = model.tasks["vector"].loss(torch.ones(2, 3), batch.targets["vector"], batch)
    assert loss.item() == pytest.approx(1)


def test_rows_that_are_no_pairs_have_no_say(model):
    task = model.tasks["vector"]
    pairs = [PairExample("Ann", "Bob"), PairExample("Oslo", LONG), PairExample("x", "y", 0.3)]
    texts = [TextExample("Rome"), TextExample(LONG)]
    mixed = [texts[0], pairs[0], texts[1], pairs[1], pairs[2], texts[0]]
    alone, among = (batch_of(examples, model, [task]) for examples in (pairs, mixed))
    examples = [among.items[i].example for i in among.rows]
    of_pairs = torch.tensor([isinstance(example, PairExample) for example in examples])
    outputs = torch.randn(len(among.rows), 3, generator=torch.Generator().manual_seed(0))
    outputs.requires_grad_()
    loss = task.loss(outputs, among.targets["vector"], among)
    expected = task.loss(outputs[of_pairs], alone.targets["vector"], alone)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert outputs.grad.isfinite().all()
    assert not outputs.grad[~of_pairs].any()
    assert outputs.grad[of_pairs].any(dim=1).all()
    assert among.n_labelled("vector") == 3


def test_a_batch_without_pairs_has_no_loss(model):
    batch = batch_of([TextExample("Ann"), TextExample("Bob")], model, [model.tasks["vector"]])
    assert model.losses(batch) == {}


def test_a_long_sentence_is_one_sentence_of_its_pair(model):
    """Its windows are averaged, so that the loss is that of three pairs and not of more."""
    task = model.tasks["vector"]
    pairs = [PairExample("Ann", LONG), PairExample(OTHER_LONG, LONG + " ."), PairExample("x", "y")]
    batch = batch_of(pairs, model, [task])
    rows = model(batch, ["vector"])["vector"]
    assert len(rows) == 1 + 4 + 3 + 4 + 2
    ends = [0, 1, 5, 8, 12, 13, 14]
    vectors = [rows[ends[i] : ends[i + 1]].mean(0).tolist() for i in range(6)]
    by_hand = loss_by_hand(pairs, vectors[0::2], vectors[1::2], task.temperature)
    assert model.losses(batch)["vector"].item() == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize(
    "pairs",
    [
        [PairExample("Ann", "Ann")],
        [PairExample("Ann", "Bob")],
        [PairExample("Ann", "Ann"), PairExample("Bob", "Bob"), PairExample("Ann", "Bob")],
        [PairExample("Ann", "Ann", 1.0), PairExample("Ann", "Ann", -1.0)],
        [PairExample("Ann", "Bob", 0.5), PairExample("Oslo", "Rome")],
        [PairExample(LONG, OTHER_LONG), PairExample("Ann", LONG)],
    ],
)
def test_loss_and_gradients_are_finite(model, pairs):
    """Nor is there a NaN anywhere on the way back that a mask hides at the end."""
    with torch.autograd.set_detect_anomaly(True):
        loss = model.losses(batch_of(pairs, model, [model.tasks["vector"]]))["vector"]
        gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_training_brings_pairs_together(build_model, tokenizer):
    known = list(tokenizer.counts)[:6]
    pairs = [PairExample(f"{word} ( {word} )", f"{word} .") for word in known]
    task = EmbeddingTask("vector", Dataset(train=pairs, validation=pairs))
    model = build_model([task])
    config = TrainConfig(epochs=25, batch_size=6, learning_rate=1e-2, hide_words=0.0)
    history = train(model, [task], config, progress=False)
    assert evaluate(model, "vector", pairs)["accuracy_at_1"] == 1
    assert history.rounds[-1].losses["vector"] < history.rounds[0].losses["vector"] / 2


def test_scored_pairs_alone_are_trained_on_and_judged_by_their_ranks(
    build_model, tokenizer, capsys
):
    """None of them means the same, so there is no nearest sentence to look for."""
    known = [word for word in tokenizer.counts if word.isalpha()][:12]
    pairs = [
        PairExample(f"{a} .", f"{b} met {a}", 0.89 - 0.15 * i)
        for i, (a, b) in enumerate(pairwise(known))
    ]
    task = EmbeddingTask("vector", Dataset(train=pairs, validation=pairs))
    model = build_model([task])
    config = TrainConfig(epochs=8, batch_size=4, learning_rate=1e-2, hide_words=0.0)
    history = train(model, [task], config)
    assert all(scores["vector"].keys() == {"spearman"} for scores in history.validation)
    ranks = [scores["vector"]["spearman"] for scores in history.validation]
    assert history.best_epoch == 1 + ranks.index(max(ranks))
    assert evaluate(model, "vector", pairs) == {"spearman": max(ranks)}
    assert max(ranks) > ranks[0] + 0.2
    assert f"validation: vector spearman {ranks[0]:.3f}" in capsys.readouterr().err


class Scripted(EmbeddingTask):
    """Embedding whose validation scores are given beforehand, epoch by epoch."""

    def __init__(self, *args, script=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.script = iter(script)

    def score(self, examples, predictions):
        return {"spearman": next(self.script)}


@pytest.mark.parametrize(
    ("script", "best"),
    [
        ([-0.5, 0.25, -0.25], 2),
        ([-0.5, -0.75, -0.625], 1),
        ([0.0, -0.5, 0.5], 3),
        ([-1.0, -1.0, -1.0], 1),
    ],
)
def test_the_best_epoch_may_have_a_negative_rank_correlation(build_model, script, best):
    pairs = [PairExample("Ann", "Bob", 0.5), PairExample("Oslo", "Rome", 0.25)]
    data = Dataset(train=pairs, validation=pairs)
    task = Scripted("vector", data, script=script)
    config = TrainConfig(epochs=3, batch_size=2)
    assert train(build_model([task]), [task], config, progress=False).best_epoch == best


# --- scores ---------------------------------------------------------------------------------------


def score(*examples):
    """Scores of `(pair, vector of its first sentence, vector of its second)`."""
    pairs = [pair for pair, _, _ in examples]
    predictions = [
        Similarity(Embedding(pair.first, first), Embedding(pair.second, second))
        for pair, first, second in examples
    ]
    return EmbeddingTask("vector").score(pairs, predictions)


EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)


def test_accuracy_at_1_asks_for_the_closest_second_sentence():
    near_east = (0.96, 0.28)
    scores = score(
        (PairExample("a", "b"), EAST, NORTH),  # d is closer
        (PairExample("c", "d"), NORTH, near_east),  # b is closer
        (PairExample("e", "f"), WEST, WEST),  # right
    )
    assert scores == {"accuracy_at_1": pytest.approx(1 / 3)}


def test_sentences_that_are_equally_close_share_the_point():
    pairs = [PairExample("a", "b"), PairExample("c", "d"), PairExample("e", "f")]
    assert score(*((pair, EAST, EAST) for pair in pairs)) == {"accuracy_at_1": pytest.approx(1 / 3)}


@pytest.mark.parametrize(("short_of_1", "accuracy"), [(5e-7, 1 / 2), (1e-4, 1 / 4)])
def test_a_difference_of_rounding_is_none(short_of_1, accuracy):
    """The first pair shares its point, or loses it to the second; the second always shares."""
    scores = score(
        (PairExample("a", "b"), EAST, (1 - short_of_1, 0.0)), (PairExample("c", "d"), NORTH, EAST)
    )
    assert scores == {"accuracy_at_1": pytest.approx(accuracy)}


def test_the_right_sentence_is_right_wherever_it_stands():
    scores = score(
        (PairExample("a", "b"), EAST, EAST),
        (PairExample("c", "b"), EAST, EAST),
        (PairExample("e", "f"), NORTH, NORTH),
    )
    assert scores == {"accuracy_at_1": 1}


def test_only_pairs_that_mean_the_same_are_asked_for():
    scores = score(
        (PairExample("a", "b", 0.9), EAST, EAST),  # right
        (PairExample("c", "d", 1.0), NORTH, WEST),  # f is closer
        (PairExample("e", "f", 0.89), WEST, NORTH),  # not asked for, but its f is a candidate
    )
    assert scores["accuracy_at_1"] == pytest.approx(1 / 2)


def test_choices_are_made_on_the_nearest_sentences_and_without_them_on_ranks():
    task = EmbeddingTask("vector")
    both = {"spearman": 0.75, "accuracy_at_1": 0.25}
    assert task.main_score(both) == ("accuracy_at_1", 0.25)
    assert task.main_score({"spearman": -0.5}) == ("spearman", -0.5)


def test_spearman_is_that_of_the_cosines_of_scored_pairs():
    stats = pytest.importorskip("scipy.stats")
    vectors = [EAST, (0.8, 0.6), (0.8, 0.6), (0.6, 0.8), NORTH, WEST]
    gold = [0.5, 1.0, 0.25, None, 0.0, 0.0]
    scores = score(
        *(
            (PairExample(f"a{i}", f"b{i}", s), EAST, v)
            for i, (s, v) in enumerate(zip(gold, vectors, strict=True))
        )
    )
    cosines, known = [1, 0.8, 0.8, 0, -1], [0.5, 1.0, 0.25, 0.0, 0.0]
    assert scores["spearman"] == pytest.approx(stats.spearmanr(cosines, known).statistic)


def test_evaluation_equals_scores_of_encoded_sentences(model):
    pairs = [
        PairExample("Ann met Bob .", "Bob met Ann .", 1.0),
        PairExample("Oslo", "Rome .", 0.3),
        PairExample(LONG, "Acme Corp .", 0.0),
        PairExample("who ?", LONG),
    ]
    first = encode(model, [pair.first for pair in pairs])
    second = encode(model, [pair.second for pair in pairs])
    closest = (first @ second.T).argmax(1)
    scored = (first * second).sum(1)[:3].argsort().argsort().tolist()
    scores = evaluate(model, "vector", [*pairs, TextExample("Ann")])
    assert scores["accuracy_at_1"] == ((closest[0] == 0).int() + (closest[3] == 3).int()).item() / 2
    differences = sum((a - b) ** 2 for a, b in zip(scored, [2, 1, 0], strict=True))
    assert scores["spearman"] == pytest.approx(1 - 6 * differences / (3 * 8))


# --- baselines ------------------------------------------------------------------------------------


def test_bag_of_words_by_hand():
    pairs = [PairExample("Ann saw saw", "saw, Bob"), PairExample("Rome", "ANN .", 0.5)]
    one, two = EmbeddingTask("vector").baselines(pairs)["bag_of_words"]
    assert one.score == pytest.approx(2 / (math.sqrt(1 + 4) * math.sqrt(3)))
    assert two.score == 0
    crossed = Similarity(one.first, two.second).score  # capitals do not count
    assert crossed == pytest.approx(1 / (math.sqrt(1 + 4) * math.sqrt(2)))


def test_the_untrained_baseline_disturbs_nothing_and_is_always_the_same(model, sentences):
    texts = [e.text for e in sentences]
    pairs = [PairExample(a, f"{b} .") for a, b in pairwise(texts)]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    task, random_state = model.tasks["vector"], torch.get_rng_state()
    baselines = evaluate_baselines(model, "vector", pairs)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(weights[name], t) for name, t in model.state_dict().items())
    assert model.tasks["vector"] is task
    assert baselines.keys() == {"bag_of_words", "untrained"}
    torch.rand(7)
    assert evaluate_baselines(model, "vector", pairs) == baselines


def test_the_untrained_baseline_leaves_the_random_state_of_a_gpu_alone(model, monkeypatch):
    """Where there is a GPU, or is not: nobody asks for its seed."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    evaluate_baselines(model, "vector", [PairExample("Ann", "Bob")])
    assert not seeded
    torch.manual_seed(5)
    assert seeded == [5]


def test_the_untrained_baseline_knows_nothing_of_the_weights(build_model):
    pairs = [
        PairExample(f"{name} won", f"{name} lost", 0.1 * i) for i, name in enumerate("abcdefg")
    ]
    model = build_model([EmbeddingTask("vector", width=6)], seed=3)
    untrained = evaluate_baselines(model, "vector", pairs)["untrained"]
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert evaluate_baselines(model, "vector", pairs)["untrained"] == untrained
    torch.manual_seed(0)
    fresh = type(model.encoder)(model.encoder.config)
    fresh = MultiTaskModel(fresh, model.tokenizer, [EmbeddingTask("vector", width=6)])
    assert evaluate(fresh, "vector", pairs) == untrained


# --- what users see -------------------------------------------------------------------------------


def test_predictions_show_themselves(model):
    prediction = predict(model, "<i>Ann</i>")["vector"]
    assert prediction.to_dict() == {"text": "<i>Ann</i>", "embedding": list(prediction.vector)}
    assert "unit vector of 6 numbers" in str(prediction)
    assert "&lt;i&gt;" in prediction._repr_html_()
    assert "<i>" not in prediction._repr_html_()
    pair = Similarity(Embedding("a", (1.0, 0.0)), Embedding("b", (0.6, 0.8)))
    assert pair.to_dict() == {"sentence1": "a", "sentence2": "b", "score": 0.6}
    assert str(pair) == "0.600  a | b"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": -1}, "below 0"),
        ({"temperature": 0.0}, "positive number"),
        ({"temperature": -0.1}, "positive number"),
        ({"temperature": math.inf}, "positive number"),
        ({"temperature": math.nan}, "positive number"),
    ],
)
def test_tasks_that_cannot_be(settings, words):
    with pytest.raises(ConfigError, match=words) as error:
        EmbeddingTask("vector", **settings)
    assert "'vector'" in str(error.value)


def test_each_row_knows_which_text_of_its_example_it_is_a_window_of(model):
    """As in the docstrings of `text_numbers` and `vectors_of_texts`."""
    task = model.tasks["vector"]
    long = " ".join(["Ann met Bob in Oslo ."] * 15)  # two windows of 64 tokens
    pairs = [PairExample("Ann", long), TextExample("Oslo"), PairExample("a", "b", None, "c")]
    batch = batch_of(pairs, model, [task])
    assert [text_numbers(item.rows) for item in batch.items] == [[0, 1, 1], [0], [0, 1, 2]]
    assert batch.targets["vector"].tolist() == [0, 1, 1, -100, 0, 1, 2]
    outputs = torch.arange(1.0, 8)[:, None] * torch.tensor([[3.0, 4.0]])
    vectors = vectors_of_texts(outputs, batch, batch.targets["vector"])
    filled = [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    expected = torch.tensor(filled)[:, :, None] * torch.tensor([0.6, 0.8])
    torch.testing.assert_close(vectors, expected)
