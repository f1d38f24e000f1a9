"""The linear-chain CRF against all sequences of tags, counted one by one."""

from itertools import pairwise, product

import pytest
import torch

import mtl
from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.data.validity import check_iob2
from mtl.errors import ConfigError, DataError
from mtl.nn.crf import (
    best_sequence,
    iob2_rules,
    log_partition,
    marginals,
    sequence_score,
)
from mtl.tasks import NERTask

TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]
LENGTHS = [4, 1, 3]


@pytest.fixture(params=[False, True], ids=["any", "valid IOB2"])
def chain(request):
    """Scores of three texts of different lengths, and of transitions."""
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 4, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    transitions = torch.randn(6, 5, generator=draw, dtype=torch.float64)
    if request.param:
        transitions = transitions + iob2_rules(TAGS)
    return scores, transitions, torch.arange(4) < torch.tensor(LENGTHS)[:, None]


def scores_of_all(scores, transitions, n):
    """The score of every sequence of tags of one text, term by term."""
    return {
        tags: transitions[0, tags[0]]
        + sum(scores[i, tag] for i, tag in enumerate(tags))
        + sum(transitions[1 + a, b] for a, b in pairwise(tags))
        for tags in product(range(5), repeat=n)
    }


def test_sums_and_maxima_are_those_over_all_sequences(chain):
    scores, transitions, mask = chain
    totals, best = log_partition(*chain), best_sequence(*chain)
    chances = marginals(*chain)
    for i, n in enumerate(LENGTHS):
        every = scores_of_all(scores[i], transitions, n)
        total = torch.stack([*every.values()]).logsumexp(0)
        assert totals[i].item() == pytest.approx(total.item())
        assert tuple(best[i, :n].tolist()) == max(every, key=lambda tags: every[tags].item())
        for word in range(n):
            for tag in range(5):
                p = sum((s - total).exp() for tags, s in every.items() if tags[word] == tag)
                assert chances[i, word, tag].item() == pytest.approx(p.item(), abs=1e-9)
    some = torch.randint(0, 5, (3, 4), generator=torch.Generator().manual_seed(1))
    said = sequence_score(scores, transitions, some, mask)
    for i, n in enumerate(LENGTHS):
        every = scores_of_all(scores[i], transitions, n)
        assert said[i].item() == pytest.approx(every[tuple(some[i, :n].tolist())].item())


def test_marginals_are_the_gradient_of_the_partition(chain):
    scores, _, mask = chain
    (gradient,) = torch.autograd.grad(log_partition(*chain).sum(), scores)
    torch.testing.assert_close(gradient, marginals(*chain).detach() * mask[..., None])


def test_padding_changes_nothing(chain):
    scores, transitions, mask = chain
    longer = torch.cat((scores, torch.full((3, 2, 5), 7.0)), dim=1)
    padded = longer, transitions, torch.cat((mask, torch.zeros(3, 2, dtype=torch.bool)), dim=1)
    torch.testing.assert_close(log_partition(*padded), log_partition(*chain))
    assert torch.equal(best_sequence(*padded)[:, :4][mask], best_sequence(*chain)[mask])


def test_the_rules_of_iob2_are_those_that_examples_are_checked_by():
    rules = iob2_rules(TAGS)
    for n in (1, 2, 3):
        for ids in product(range(5), repeat=n):
            steps = [0, *(1 + i for i in ids[:-1])]
            try:
                check_iob2([TAGS[i] for i in ids])
                valid = True
            except DataError:
                valid = False
            assert valid == all(rules[a, b] == 0 for a, b in zip(steps, ids, strict=True)), ids


def test_the_best_sequence_is_always_valid():
    scores = torch.randn(40, 9, 5, generator=torch.Generator().manual_seed(2)) * 5
    mask = torch.ones(40, 9, dtype=torch.bool)
    greedy = [[TAGS[i] for i in tags] for tags in scores.argmax(-1).tolist()]
    found = [[TAGS[i] for i in t] for t in best_sequence(scores, iob2_rules(TAGS), mask).tolist()]
    for tags in found:
        check_iob2(tags)
    agreed = 0
    for before, after in zip(greedy, found, strict=True):
        try:
            check_iob2(before)
        except DataError:
            continue
        assert before == after  # what is valid already stays as it is
        agreed += 1
    assert 0 < agreed < 40


# --- in the task ----------------------------------------------------------------------------------

WORDS = ["Ann", "Li", "met", "Bob", "in", "New", "York", "."]
RIGHT = ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC", "I-LOC", "O"]
SENTENCE = mtl.NERExample(WORDS * 3, RIGHT * 3)  # 24 words, read twelve at a time


@pytest.fixture(params=["constrained", "crf"])
def model(request, build_model):
    data = mtl.Dataset([SENTENCE] * 4, [SENTENCE], [SENTENCE])
    task = NERTask("ner", data, decoding=request.param)
    tokenizer = WhitespaceTokenizer.train([SENTENCE.text])
    return build_model([task], tokenizer=tokenizer, max_length=14, overlap=4)


def test_it_learns_in_windows_and_is_saved(model, tmp_path):
    config = mtl.TrainConfig(epochs=30, batch_size=2, learning_rate=2e-2, hide_words=0.0)
    mtl.train(model, config=config, progress=False)
    assert mtl.evaluate(model, "ner")["entity_f1"] == 1
    model.save_pretrained(tmp_path)
    again = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert again.tasks["ner"].decoding == model.tasks["ner"].decoding
    said = mtl.predict(model, SENTENCE.text)["ner"]
    assert mtl.predict(again, SENTENCE.text)["ner"] == said
    assert min(said.scores) > 0.25
    assert max(said.scores) <= 1.0001


def test_no_invalid_sequence_comes_out(model, build_model):
    task = NERTask("ner", types=["LOC", "PER"])
    noisy = build_model([task, replace_decoding(model.tasks["ner"])], embedding_std=3.0)
    texts = [" ".join(WORDS[k:] + WORDS[:k]) for k in range(len(WORDS))]
    said = mtl.predict(noisy, texts)
    for tags in (one["chain"].tags for one in said):
        check_iob2(tags)
    # The words of the greedy task alone would break the rules.
    greedy = [tag for one in said for tag in [".", *one["ner"].tags]]
    with pytest.raises(DataError, match="continues an entity that did not begin"):
        check_iob2([tag.replace(".", "O") for tag in greedy])


def test_a_batch_gives_what_its_texts_give_alone(model, build_model):
    task = replace_decoding(model.tasks["ner"])
    noisy = build_model([task], embedding_std=3.0, max_length=14, overlap=4)
    texts = [" ".join((WORDS[k:] + WORDS[:k]) * 3) for k in range(4)]
    together = mtl.predict(noisy, texts)
    assert len({tuple(said["chain"].tags) for said in together}) > 1
    for text, said in zip(texts, together, strict=True):
        assert said["chain"].tags == mtl.predict(noisy, text)["chain"].tags


def replace_decoding(task):
    return NERTask("chain", types=task.types, decoding=task.decoding)


def test_the_loss_of_a_crf_is_the_surprise_at_the_tags_of_each_row(model):
    task = model.tasks["ner"]
    if task.decoding != "crf":
        pytest.skip("the loss is that of greedy decoding")
    with torch.no_grad():
        model.heads["ner"].transitions.normal_()
    unlabelled = mtl.TextExample(SENTENCE.text)
    items, _ = encode_examples([SENTENCE, unlabelled], model.tokenizer, [task], 14, 4)
    batch = collate(items, model.tokenizer, [task])
    logits, transitions = outputs = model(batch, ["ner"])["ner"]
    rules = iob2_rules(task.tags)
    rules[0] = 0
    surprise, n_words = 0.0, 0
    for row, target in zip(logits, batch.targets["ner"], strict=True):
        asked = target != -100
        if asked.any():
            one = row[asked][None], transitions[0] + rules
            mask = torch.ones(1, int(asked.sum()), dtype=torch.bool)
            surprise += log_partition(*one, mask).item()
            surprise -= sequence_score(*one, target[asked][None], mask).item()
            n_words += int(asked.sum())
    loss = task.loss(outputs, batch.targets["ner"], batch)
    assert loss.item() == pytest.approx(surprise / n_words, rel=1e-5)
    assert 0 < loss.item() < 100  # no row, not even one cut inside an entity, is impossible


def test_greedy_stays_the_default_and_others_are_refused():
    assert NERTask("ner", types=["A"]).settings().keys() == {"id2label", "label2id"}
    with pytest.raises(ConfigError, match="has no such decoding"):
        NERTask("ner", types=["A"], decoding="viterbi")
