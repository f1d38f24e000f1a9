"""Ten everyday jobs, written as a user of `transformers` would guess them before reading anything.

Nine work at the first try, and the tenth (resume) fails with the hint that makes it work.
"""

import pytest
import torch
from torch import nn

import mtl
from mtl.tasks import Task

NER = {"train": 40, "validation": 10, "test": 10}  # sentences
FIRST = "Alice works at Acme Corp in Paris."


def records(split, n):
    """As `datasets` has them: dicts with `tokens` and `ner_tags`."""
    examples = mtl.toy.ner_examples(split, n)
    return [{"tokens": list(e.tokens), "ner_tags": list(e.tags)} for e in examples]


def new_model(*more_tasks):
    """A model on fresh data; two of them have the same weights."""
    torch.manual_seed(0)
    ner = mtl.NERTask("ner", {split: records(split, n) for split, n in NER.items()})
    tokenizer = mtl.WhitespaceTokenizer.train(ner.dataset.training_texts())
    shape = {"d_model": 16, "n_heads": 2, "n_layers": 1}
    encoder = mtl.TransformerEncoder(mtl.EncoderConfig(vocab_size=len(tokenizer), **shape))
    return mtl.MultiTaskModel(encoder, tokenizer, [ner, *more_tasks])


def test_train():
    model = new_model()
    before = model.evaluate("ner", "train")["token_accuracy"]

    history = mtl.train(model, config={"epochs": 3, "batch_size": 8, "learning_rate": 1e-2})

    assert len(history.validation) == 3
    assert model.evaluate("ner", "train")["token_accuracy"] > before


def test_change_the_rate():
    rates = {}
    for rate in (1e-3, 1e-4):
        history = mtl.train(new_model(), config=mtl.TrainConfig(epochs=1, learning_rate=rate))
        rates[rate] = [record.learning_rate for record in history.rounds]

    assert max(rates[1e-3]) == pytest.approx(10 * max(rates[1e-4]))


def test_resume(tmp_path):
    whole, stopped = new_model(), new_model()
    config = mtl.TrainConfig(epochs=2, batch_size=8)
    mtl.train(whole, config=config)

    def stop(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mtl.train(stopped, config=config, checkpoint=tmp_path, save_every=3, on_epoch=stop)
    with pytest.raises(mtl.ConfigError, match='it is called "resume" here'):
        mtl.train(stopped, config=config, resume_from_checkpoint=tmp_path)
    with pytest.raises(mtl.ConfigError, match="give checkpoint=FOLDER"):
        mtl.train(stopped, config=config, resume=True)
    mtl.train(stopped, config=config, checkpoint=tmp_path, resume=True)

    expected = whole.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in stopped.state_dict().items())


def test_a_loop_of_my_own():
    model = new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []

    model.train()
    for _ in range(3):
        for batch in mtl.batches(model, "ner", seed=0):
            loss = model.losses(batch)["ner"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())

    assert sum(losses[-2:]) < sum(losses[:2])


def test_save(tmp_path):
    new_model().save_pretrained(tmp_path / "my-model")

    names = {path.name for path in (tmp_path / "my-model").iterdir()}
    assert {"config.json", "model.safetensors"} < names  # as everybody calls them


def test_load(tmp_path):
    model = new_model()
    model.save_pretrained(tmp_path)

    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)

    assert loaded.predict(FIRST) == model.predict(FIRST)
    assert str(loaded) == str(model)


def test_share(tmp_path, monkeypatch):
    """The folder is the model: uploaded, it is loaded by its name on the hub."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **_: str(tmp_path))
    model = new_model()
    model.save_pretrained(tmp_path)

    theirs = mtl.MultiTaskModel.from_pretrained("alice/acme-names")

    assert theirs.predict(FIRST) == model.predict(FIRST)


def test_predict_a_list():
    model = new_model()

    predictions = model.predict([FIRST, "Bob left."])

    assert [prediction["ner"].text for prediction in predictions] == [FIRST, "Bob left."]
    entity = {"entity_group", "score", "word", "start", "end"}  # as a pipeline has them
    found = [e for p in predictions for e in p.to_dict()["ner"]["entities"]]
    assert found
    assert all(e.keys() == entity for e in found)


def test_evaluate_a_file(tmp_path):
    mtl.write_conll(mtl.toy.ner_examples("test", 10), tmp_path / "test.conll")
    model = new_model()

    scores = model.evaluate("ner", tmp_path / "test.conll")

    assert scores == model.evaluate("ner") == model.evaluate()["ner"]
    assert 0 <= scores["entity_f1"] <= 1


def test_a_task_of_my_own(tmp_path, monkeypatch):
    monkeypatch.setattr(Task, "kinds", dict(Task.kinds))

    class LengthTask(Task):
        """How long a text is, in tens of characters."""

        kind = "length"
        main_metric = "closeness"

        def build_head(self, d_model):
            return nn.Linear(d_model, 1)

        def targets(self, example, rows, notes):
            return [len(example.text) / 10] * len(rows)

        def collate(self, targets, length):
            return torch.tensor(targets)

        def loss(self, outputs, targets, batch):
            return nn.functional.mse_loss(outputs[:, 0, 0], targets)  # at [CLS]

        def decode(self, outputs, batch):
            return outputs[:, 0, 0].tolist()

        def score(self, examples, predictions):
            pairs = zip(examples, predictions, strict=True)
            errors = [abs(len(example.text) / 10 - said) for example, said in pairs]
            return {"closeness": 1 / (1 + sum(errors) / len(errors))}

    length = LengthTask("length", {split: records(split, n) for split, n in NER.items()})
    model = new_model(length)
    before = model.evaluate("length")["closeness"]
    config = mtl.TrainConfig(epochs=10, learning_rate=1e-2)
    history = mtl.train(model, [length], config)

    assert len(history.validation) == 10
    assert model.evaluate("length")["closeness"] > before + 0.1
    model.save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.predict(FIRST) == model.predict(FIRST)
