"""NER and QA with pretrained weights: our training against a plain loop around `transformers`.

    python tests/benchmarks/plain_loop.py FOLDER DATA

FOLDER is a BERT checkpoint; DATA holds `wnut17/{train,dev}.conll` and
`squad/{train,dev}.json`. Every run is a process of its own, one after the other, with the same
examples, number of updates, batch size, clipping and precision:

    ours            mtl.train with the settings of conll-squad.toml
    plain           AutoModel and two linear layers, one rate, every batch padded to the full length
    plain-bucketed  the same, fed the very batches that ours gets

Dev files are scored after the last epoch, by the same functions for all; nothing is chosen on them.
For choosing there is `--held-out N`: N more sentences of the training file are scored instead, and,
to be quick about it, questions with short contexts are taken.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mtl
from mtl.data.batching import Batch
from mtl.devices import autocast, choose_device, choose_precision
from mtl.tables import format_table
from mtl.training.run import Run

LOOPS = ("ours", "plain", "plain-bucketed")
RATE = 2e-4  # of the plain loop's only parameter group; ours has two


def main() -> None:
    options = parse()
    if options.loop:
        print(json.dumps(run(options)))
        return
    rows = []
    for seed in options.seeds:
        for loop in options.loops:
            own = ["--loop", loop, "--seed", str(seed)]
            command = [sys.executable, __file__, *sys.argv[1:], *own]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append([loop, seed, *json.loads(done.stdout.splitlines()[-1]).values()])
            print(rows[-1], file=sys.stderr)
    header = ["loop", "seed", "NER F1", "token accuracy", "all-O", "QA EM", "QA F1", "seconds"]
    print(format_table([*header, "tokens/s", "peak MB"], rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="a BERT checkpoint")
    parser.add_argument("data", type=Path, help="with wnut17 and squad in it")
    parser.add_argument("--ner", type=int, default=2000, help="sentences to train on")
    parser.add_argument("--qa", type=int, default=3500, help="questions to train on")
    parser.add_argument("--dev", type=int, default=0, help="of each dev file so many; 0 for all")
    parser.add_argument("--held-out", type=int, default=0, help="of the training file, see above")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--set", nargs="+", default=[], help="keys of conll-squad.toml")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--attention", default="sdpa", help="of transformers: sdpa or eager")
    parser.add_argument("--loops", nargs="+", default=LOOPS, choices=LOOPS)
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0], help="of heads, order, dropout"
    )
    parser.add_argument("--loop", choices=LOOPS, help="run this one, in this process")
    parser.add_argument("--seed", type=int, default=0, help="of this one")
    return parser.parse_args()


def read_tasks(options: argparse.Namespace) -> list[mtl.tasks.Task]:
    warnings.simplefilter("ignore", mtl.errors.DataWarning)
    wnut, squad = options.data / "wnut17", options.data / "squad"
    if not (wnut.is_dir() and squad.is_dir()):
        sys.exit(f"skipped: there is no wnut17 and squad in {options.data}")
    sentences = mtl.read_conll(wnut / "train.conll")
    questions = mtl.read_squad(squad / "train.json", on_error="skip")
    if options.held_out:
        return held_out(options, sentences, questions)
    ner = mtl.Dataset(
        train=sentences[: options.ner],
        test=evenly(mtl.read_conll(wnut / "dev.conll"), options.dev),
    )
    qa = mtl.Dataset(
        train=evenly(questions, options.qa),
        test=evenly(mtl.read_squad(squad / "dev.json"), options.dev),
    )
    return [mtl.NERTask("ner", ner), mtl.QATask("qa", qa)]


def held_out(
    options: argparse.Namespace, sentences: list[mtl.NERExample], questions: list[mtl.QAExample]
) -> list[mtl.tasks.Task]:
    """The sentences after those trained on are scored, and as many questions; both of `train`."""
    end = options.ner + options.held_out
    ner = mtl.Dataset(train=sentences[: options.ner], test=sentences[options.ner : end])
    by_length = sorted(range(len(questions)), key=lambda i: len(questions[i].context))
    short, next_ = by_length[: options.qa], by_length[options.qa :][: options.held_out]
    qa = mtl.Dataset(
        train=[questions[i] for i in sorted(short)], test=[questions[i] for i in next_]
    )
    return [mtl.NERTask("ner", ner), mtl.QATask("qa", qa)]


def evenly(examples: list[Any], n: int) -> list[Any]:
    """So many of them from beginning to end, that is, from all articles; 0 for all."""
    return examples[:: max(1, len(examples) // n)][:n] if n else examples


def run(options: argparse.Namespace) -> dict[str, float]:
    tasks = read_tasks(options)
    device = choose_device()
    train = train_ours if options.loop == "ours" else train_plain
    model, seconds, tokens = train(options, tasks, device)
    peak = (
        torch.cuda.max_memory_allocated() / 2**20
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    ner = tasks[0]
    with autocast(device, choose_precision(options.precision, device)):
        scores = [mtl.evaluate(model, task.name, task.dataset.test) for task in tasks]
    all_o = ner.score(ner.dataset.test, ner.baselines(ner.dataset.test)["all_o"])
    return {
        "ner_f1": scores[0]["entity_f1"],
        "token_accuracy": scores[0]["token_accuracy"],
        "all_o": all_o["token_accuracy"],
        "exact_match": scores[1]["exact_match"],
        "token_f1": scores[1]["token_f1"],
        "seconds": round(seconds),
        "tokens_per_second": round(tokens / seconds),
        "peak": round(peak),
    }


def config(options: argparse.Namespace) -> mtl.TrainConfig:
    settings = {"epochs": options.epochs, "precision": options.precision, "seed": options.seed}
    return mtl.TrainConfig(**mtl.load_recipe("conll-squad", options.set).train | settings)


def train_ours(
    options: argparse.Namespace, tasks: list[mtl.tasks.Task], device: torch.device
) -> tuple[mtl.MultiTaskModel, float, int]:
    recipe = mtl.load_recipe("conll-squad", options.set).encoder
    encoder, tokenizer = mtl.load_pretrained(
        options.folder,
        max_length=options.max_length,
        attention_dropout=recipe["attention_dropout"],
    )
    torch.manual_seed(options.seed)
    model = mtl.MultiTaskModel(encoder, tokenizer, tasks, overlap=recipe["overlap"])
    tokens = [0]
    model.encoder.register_forward_pre_hook(
        lambda _, arguments: tokens.append(int(arguments[1].sum()))
    )
    history = mtl.train(model, tasks, config(options))
    return model.eval(), history.seconds, sum(tokens)


class Reference(nn.Module):
    """An encoder of `transformers` that takes the arguments of ours."""

    def __init__(self, folder: str, attention: str) -> None:
        super().__init__()
        from transformers import AutoModel

        self.model = AutoModel.from_pretrained(
            folder, attn_implementation=attention, add_pooling_layer=False
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask.long(), token_type_ids=token_type_ids
        ).last_hidden_state


def train_plain(
    options: argparse.Namespace, tasks: list[mtl.tasks.Task], device: torch.device
) -> tuple[mtl.MultiTaskModel, float, int]:
    """A loop as one writes it: alternate, one AdamW, linear warm-up and decay, clipping."""
    overlap = mtl.load_recipe("conll-squad").encoder["overlap"]
    encoder, tokenizer = mtl.load_pretrained(options.folder, max_length=options.max_length)
    torch.manual_seed(options.seed)
    # Of this model the data, the heads and the decoding are used.
    model = mtl.MultiTaskModel(encoder, tokenizer, tasks, overlap=overlap)
    dtype = choose_precision(options.precision, device)
    batches = batches_of(options, model, tasks)
    model.encoder.to("meta")  # only the reference needs memory
    reference = Reference(options.folder, options.attention).to(device).train()
    width = encoder.config.d_model
    heads = nn.ModuleDict(
        {"ner": nn.Linear(width, len(tasks[0].tags)), "qa": nn.Linear(width, 2)}
    ).to(device)
    started = time.perf_counter()
    parameters = [*reference.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01)
    steps, tokens = len(batches), 0
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps))
    )
    for batch in batches:
        batch = batch.to(device)
        tokens += int(batch.attention_mask.sum())
        ((name, target),) = batch.targets.items()
        with autocast(device, dtype):
            hidden = reference(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            logits = heads[name](hidden).float()
        if name == "ner":
            loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        else:
            loss = sum(F.cross_entropy(logits[..., i], target[:, i]) for i in (0, 1)) / 2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - started
    return put_together(model, reference, heads), seconds, tokens


def batches_of(
    options: argparse.Namespace, model: mtl.MultiTaskModel, tasks: Sequence[mtl.tasks.Task]
) -> list[Batch]:
    """The batches of a run of ours in their order; for `plain`, each padded to the full length."""
    settings = config(options)
    ours = Run(model, tasks, settings, mtl.training.FixedWeighting())
    rounds = settings.epochs * ours.streams.rounds_per_epoch
    batches = [stream.next() for _ in range(rounds) for stream in ours.streams]
    if options.loop == "plain":
        return [pad(batch, options.max_length) for batch in batches]
    return batches


def pad(batch: Batch, length: int) -> Batch:
    """Shuffled batches would differ in nothing but their padding: so it is added here."""
    more = length - batch.input_ids.shape[1]
    names = ("input_ids", "attention_mask", "token_type_ids", "text_mask")
    wide = {name: F.pad(getattr(batch, name), (0, more)) for name in names}
    targets = {
        name: F.pad(target, (0, more), value=-100) if name == "ner" else target
        for name, target in batch.targets.items()
    }
    return replace(batch, **wide, targets=targets)


def put_together(
    model: mtl.MultiTaskModel, reference: Reference, heads: nn.ModuleDict
) -> mtl.MultiTaskModel:
    """The trained reference in our model, so that both are decoded and scored alike."""
    with tempfile.TemporaryDirectory() as folder:
        reference.model.save_pretrained(folder)
        model.tokenizer.save(folder)
        model.encoder, _ = mtl.load_pretrained(folder, max_length=model.encoder.config.max_length)
    model.heads["ner"].classifier = heads["ner"]
    model.heads["qa"].start_and_end = heads["qa"]
    return model.to(next(heads.parameters()).device).eval()


if __name__ == "__main__":
    main()
