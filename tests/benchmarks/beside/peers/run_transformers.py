"""Tagged sentences and questions go in; what one `AutoModel` with two linear heads says comes out.

The loop is what one writes around `transformers`: a batch of either task in turn, rows in random
order padded to the longest of their batch, one AdamW with linear warm-up and decay, clipping. Rows
and decoding of questions are those of `run_qa.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from runner import Budget, Predictions, run
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    get_linear_schedule_with_warmup,
    set_seed,
)

IGNORED = -100
CLS = 0
EVAL_ROWS = 32  # in a batch of prediction
BEST = 20  # starts and ends that are tried in each window
MAX_ANSWER_TOKENS = 30
Row = dict[str, Any]  # of the tokenizer, with "labels" in training


class TwoTasks(nn.Module):
    """The encoder, a tag for each token, and a start and an end of the answer."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        sentences, _ = budget["datasets"]
        self.tags = sorted({tag for record in sentences["train"] for tag in record["tags"]})
        self.tokenizer = AutoTokenizer.from_pretrained(budget["checkpoint"])
        self.pad = DataCollatorWithPadding(self.tokenizer)
        self.encoder = AutoModel.from_pretrained(budget["checkpoint"], add_pooling_layer=False)
        width = self.encoder.config.hidden_size
        self.heads = nn.ModuleDict(
            {"ner": nn.Linear(width, len(self.tags)), "qa": nn.Linear(width, 2)}
        )

    def forward(self, task: str, batch: Any) -> Tensor:
        """Logits `(B, T, C)` or `(B, T, 2)`."""
        return self.heads[task](self.encoder(**batch).last_hidden_state)

    def collate(self, rows: Sequence[Row]) -> tuple[Any, Tensor | None]:
        """Rows padded to the longest, and their labels, if they have any: `(B, T)` or `(B, 2)`."""
        names = self.tokenizer.model_input_names
        batch = self.pad([{name: row[name] for name in names} for row in rows])
        if "labels" not in rows[0]:
            return batch, None
        labels = [torch.tensor(row["labels"]) for row in rows]
        return batch, nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)


def build(budget: Budget) -> TwoTasks:
    set_seed(budget["seed"])
    return TwoTasks(budget)


def train(model: TwoTasks, budget: Budget) -> None:
    sentences, questions = (dataset["train"] for dataset in budget["datasets"])
    rows = {
        "ner": sentence_rows(model, sentences, budget),
        "qa": question_rows(model, questions, budget),
    }
    loaders = {
        task: DataLoader(own, budget["batch_size"], shuffle=True, collate_fn=model.collate)
        for task, own in rows.items()
    }
    rounds = budget["epochs"] * max(map(len, loaders.values()))
    streams = {task: endless(loader) for task, loader in loaders.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=budget["rate"], weight_decay=0.01)
    steps = rounds * len(streams)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    for _ in range(rounds):
        for task, stream in streams.items():
            batch, labels = next(stream)
            loss_of(task, model(task, batch), labels).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def endless(loader: DataLoader) -> Iterator[Any]:
    """Its batches, pass after pass, shuffled anew each time."""
    while True:
        yield from loader


def loss_of(task: str, logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the tags, or the mean of that of the start and that of the end."""
    if task == "ner":
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    # (B, T, 2): over the T tokens, one of which is the start, and one the end
    return F.cross_entropy(logits, labels)


@torch.inference_mode()
def predict(model: TwoTasks, budget: Budget) -> Predictions:
    model.eval()
    sentences, questions = (dataset["test"] for dataset in budget["datasets"])
    of_sentences = sentence_rows(model, sentences, budget)
    of_questions = question_rows(model, questions, budget)
    return {
        "ner": tags_of(model, sentences, of_sentences, outputs("ner", model, of_sentences)),
        "qa": answers_of(questions, of_questions, outputs("qa", model, of_questions)),
    }


def outputs(task: str, model: TwoTasks, rows: Sequence[Row]) -> list[Tensor]:
    """The logits of each row, those of its padding included."""
    loader = DataLoader(rows, EVAL_ROWS, collate_fn=model.collate)
    return [logits for batch, _ in loader for logits in model(task, batch)]


def sentence_rows(model: TwoTasks, records: Sequence[Any], budget: Budget) -> list[Row]:
    """Windows of sentences; the first piece of each word has its tag."""
    encoded = model.tokenizer(
        [list(record["tokens"]) for record in records],
        is_split_into_words=True,
        truncation=True,
        max_length=budget["max_length"],
        stride=budget["overlap"],
        return_overflowing_tokens=True,
    )
    number = {tag: i for i, tag in enumerate(model.tags)}
    rows = []
    for i, example in enumerate(encoded["overflow_to_sample_mapping"]):
        words = encoded.word_ids(i)
        row = {name: encoded[name][i] for name in model.tokenizer.model_input_names}
        row |= {"example": example, "words": words}
        if "tags" in records[example]:
            tags = records[example]["tags"]
            row["labels"] = [
                number[tags[word]] if word is not None and word != before else IGNORED
                for before, word in zip([None, *words], words, strict=False)
            ]
        rows.append(row)
    return rows


def tags_of(
    model: TwoTasks, records: Sequence[Any], rows: Sequence[Row], outputs: Sequence[Tensor]
) -> list[list[str]]:
    """The best tag of each word; of the windows that have a word, the first one decides."""
    tags: list[dict[int, str]] = [{} for _ in records]
    for row, logits in zip(rows, outputs, strict=True):
        best = logits.argmax(-1).tolist()
        for piece, word in enumerate(row["words"]):
            if word is not None:
                tags[row["example"]].setdefault(word, model.tags[best[piece]])
    # A word of which the tokenizer leaves nothing has no tag.
    return [
        [found.get(word, "O") for word in range(len(record["tokens"]))]
        for record, found in zip(records, tags, strict=True)
    ]


def question_rows(model: TwoTasks, records: Sequence[Any], budget: Budget) -> list[Row]:
    """The question with each window of the context; a window without the answer has [CLS]."""
    encoded = model.tokenizer(
        [record["question"] for record in records],
        [record["context"] for record in records],
        truncation="only_second",
        max_length=budget["max_length"],
        stride=budget["overlap"],
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    rows = []
    for i, example in enumerate(encoded["overflow_to_sample_mapping"]):
        row = {name: encoded[name][i] for name in model.tokenizer.model_input_names}
        row["example"] = example
        row["places"] = [
            place if of == 1 else None
            for place, of in zip(encoded["offset_mapping"][i], encoded.sequence_ids(i), strict=True)
        ]
        if "answers" in records[example]:
            row["labels"] = span_of(records[example]["answers"][0], row["places"])
        rows.append(row)
    return rows


def span_of(answer: dict[str, Any], places: Sequence[Any]) -> tuple[int, int]:
    """First and last piece of the answer in a window that holds it whole, else [CLS] twice."""
    start, end = answer["start"], answer["start"] + len(answer["text"])
    inside = [i for i, place in enumerate(places) if place and place[1] > start and place[0] < end]
    if not inside or places[inside[0]][0] > start or places[inside[-1]][1] < end:
        return CLS, CLS
    return inside[0], inside[-1]


def answers_of(
    records: Sequence[Any], rows: Sequence[Row], outputs: Sequence[Tensor]
) -> list[tuple[int, int]]:
    """The first and the last character of the best span of all windows."""
    best: list[tuple[float, int, int]] = [(float("-inf"), 0, 0)] * len(records)
    for row, logits in zip(rows, outputs, strict=True):
        i, places = row["example"], row["places"]
        # Padding is no answer: only as many logits as the row has tokens.
        starts, ends = (one[: len(places)].topk(min(BEST, len(places))) for one in logits.T)
        best[i] = max(
            [
                best[i],
                *(
                    (s_score + e_score, places[s][0], places[e][1])
                    for s_score, s in zip(*map(Tensor.tolist, starts), strict=True)
                    for e_score, e in zip(*map(Tensor.tolist, ends), strict=True)
                    if places[s] and places[e] and s <= e < s + MAX_ANSWER_TOKENS
                ),
            ]
        )
    return [(start, end) for _, start, end in best]


if __name__ == "__main__":
    run(build, train, predict)
