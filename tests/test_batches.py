"""`mtl.batches` gives what `train` sees, so that a loop of one's own gives the same losses."""

import re
from pathlib import Path

import pytest
import torch
from small_training import TYPES
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR

import mtl
from mtl.errors import ConfigError, DataError

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.fixture
def tasks(sentences, questions):
    """NER with 3 batches of 8 and QA with 2; both lose some words, and are validated."""
    ner = mtl.Dataset(train=sentences[:20], validation=sentences[20:24])
    qa = mtl.Dataset(train=questions[:16], validation=questions[16:20])
    return [mtl.NERTask("ner", ner, types=TYPES), mtl.QATask("qa", qa)]


def own_loop(model, epochs):
    """The loop of somebody who knows torch and `mtl.batches`; the losses of each task."""
    torch.manual_seed(3)
    streams = [mtl.batches(model, task, seed=3, batch_size=8) for task in ("ner", "qa")]
    steps = 2 * epochs * max(map(len, streams))
    matrices = {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.01}
    vectors = {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([matrices, vectors], lr=1e-2, betas=(0.9, 0.98), fused=True)
    schedule = LambdaLR(optimizer, lambda step: (steps - step) / steps)
    losses = []
    for step in range(steps):
        loss = sum(model.train().losses(streams[step % 2].next()).values())
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses[::2], losses[1::2]


def test_a_loop_of_ones_own_gives_the_losses_of_train(build_model, tasks):
    ner, qa = own_loop(build_model(tasks, dropout=0.1), epochs=4)
    config = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-2, "warmup_ratio": 0, "seed": 3}
    history = mtl.train(build_model(tasks, dropout=0.1), config=config, progress=False)
    assert len(ner) == 12
    assert history.losses("ner") == ner
    assert history.losses("qa") == qa
    # Otherwise the words that are hidden, and dropout, would prove nothing.
    for change in ({"hide_words": 0.0}, {"seed": 4}):
        other = mtl.train(build_model(tasks, dropout=0.1), config=config | change, progress=False)
        assert other.losses("ner") != ner
    still = mtl.train(build_model(tasks, dropout=0.0), config=config, progress=False)
    assert still.losses("ner") != ner


def test_the_loop_in_the_docs_keeps_its_promise():
    section = PAGE.read_text(encoding="utf-8").split("## A loop of your own", 1)[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    small = code.replace("toy_train=200", "toy_train=40").replace("toy_train=400", "toy_train=60")
    names = {}
    exec(small, names)  # its last line is an assertion
    assert names["history"].losses("qa") == names["losses"]["qa"]
    assert len(names["losses"]["qa"]) == 8


def test_a_for_loop_is_one_pass_and_the_next_pass_has_another_order(build_model, tasks):
    batches = mtl.batches(build_model(tasks), "ner", batch_size=8, hide_words=0.0)
    passes = [[batch.input_ids for batch in batches] for _ in range(2)]
    assert len(batches) == len(passes[0]) == len(passes[1]) == 3
    rows = [sorted(row.tolist() for ids in one for row in ids) for one in passes]
    assert [len(r) for r in rows] == [20, 20]
    again = mtl.batches(build_model(tasks), "ner", batch_size=8, hide_words=0.0)
    assert all(torch.equal(again.next().input_ids, ids) for one in passes for ids in one)
    assert [ids.shape for ids in passes[0]] != [ids.shape for ids in passes[1]]


def test_batches_come_where_the_model_is(build_model, tasks):
    model = build_model(tasks)
    batches = mtl.batches(model, "ner")
    assert batches.next().input_ids.device.type == "cpu"
    model.to("meta")  # after that, as `train` may move it
    assert {b.input_ids.device.type for b in batches} == {"meta"}


def test_tasks_that_share_a_dataset_have_their_targets_in_the_same_batches(build_model):
    records = [
        mtl.TextExample("Ann left .", ["Ann", "left", "."], "short", ["B-PER", "O", "O"]),
        mtl.TextExample("It was late .", label="long"),
    ]
    data = mtl.Dataset(train=records * 4)
    topic = mtl.ClassificationTask("topic", data, labels=["long", "short"])
    model = build_model([topic, mtl.NERTask("ner", data, types=["PER"])])
    for name in ("topic", "ner"):
        (batch,) = mtl.batches(model, name)
        assert batch.targets.keys() == {"topic", "ner"}
        assert len(batch) == 8


def test_what_cannot_be_is_refused(build_model, tasks):
    model = build_model([*tasks, mtl.NERTask("empty", types=["X"])])
    with pytest.raises(ConfigError, match="no such task"):
        mtl.batches(model, "pos")
    with pytest.raises(DataError, match="'empty' has no labelled training examples"):
        mtl.batches(model, "empty")
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        mtl.batches(model, "ner", batch_size=0)
    with pytest.raises(ConfigError, match=r'has no batchsize\n.*"batch_size"'):
        mtl.batches(model, "ner", batchsize=8)
