"""The prediction loop knows no model class: whatever has the parts of one will do."""

import torch

from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.inference import evaluate, predict
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.tasks import NERTask, Task


class Plain:
    """Encoder, tokenizer, and one task with its head; not a `torch.nn.Module`."""

    overlap = 4
    training = False
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.tokenizer = WhitespaceTokenizer.train(["Ann met Bob ."])
        config = EncoderConfig(len(self.tokenizer), d_model=8, n_heads=2, n_layers=1)
        self.encoder = TransformerEncoder(config)
        self.tasks: dict[str, Task] = {"ner": NERTask("ner", types=["PER"])}
        self.head = self.tasks["ner"].build_head(8)

    def __call__(self, batch, tasks):
        hidden = self.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        return {name: self.head(hidden) for name in tasks}

    def task(self, name):
        return self.tasks[name]

    def train(self, mode=True):
        self.encoder.train(mode)

    def eval(self):
        self.encoder.eval()

    def untrained(self):
        return Plain()


def test_a_model_of_another_class_predicts_and_is_evaluated(sentences):
    torch.manual_seed(0)
    model = Plain()
    prediction = predict(model, "Ann met Bob .")["ner"]
    words = [prediction.text[start:end] for start, end in prediction.words]
    assert words == ["Ann", "met", "Bob", "."]
    people = [e for e in sentences if {tag[2:] for tag in e.tags} <= {"", "PER"}]
    assert 0 <= evaluate(model, "ner", people)["entity_f1"] <= 1
