"""The options of every command: a command line goes in, a namespace comes out.

`mtl --help` waits for every import here, so none may need torch, which takes seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ..data.readers import WRITERS
from ..serve.settings import ServeSettings
from ..toy import GENERATORS, SPLITS
from ..version import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

STRICT = "refuse tags that break the scheme of their file, rather than repair and count them"
COLUMN = (
    "the column of the tags, or of the label in a table: its number from 1, or its name; several "
    "as 3,4,5 where they hold layers of nested entities"
)
LABEL_NAMES = "what tags or labels that are whole numbers mean, in order from 0"


@cache  # tests, and notebooks, call `main` many times in one process
def build_parser() -> argparse.ArgumentParser:
    """All commands with their options; the parsed `group` is the file that runs them."""
    parser = argparse.ArgumentParser(
        prog="mtl", description="One Transformer encoder, shared by several language tasks."
    )
    parser.add_argument(
        "--version", action=ShowVersion, help="show program's version number and exit"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    add_train(commands)
    add_compare(commands)
    add_evaluate(commands)
    add_predict(commands)
    add_validate(commands)
    add_interactive(commands)
    add_serve(commands)
    add_export(commands)
    add_check(commands)
    add_convert(commands)
    add_toy(commands)
    add_recipes(commands)
    return parser


class ShowVersion(argparse.Action):
    """`--version`; its text is made only when asked for, since it needs torch."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(describe_version())
        parser.exit()


def describe_version() -> str:
    """Versions of mtl and torch, and the devices torch finds."""
    import torch

    devices = [f"cuda ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return f"mtl {__version__}, torch {torch.__version__}, devices: {', '.join(['cpu', *devices])}"


def add_train(commands: Commands) -> None:
    """The options of `mtl train`."""
    command = commands.add_parser("train", help="train a recipe and test it once")
    add_recipe_options(command)
    command.add_argument("--output", metavar="DIR", help="run folder; default runs/RECIPE/N")
    command.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    command.add_argument(
        "--resume", action="store_true", help="continue the run that was stopped in DIR, if any"
    )
    command.add_argument(
        "--save-every-steps",
        type=int,
        default=0,
        metavar="N",
        help="save what --resume continues from after every N steps, not only after each epoch",
    )
    command.add_argument(
        "--save-every",
        type=int,
        default=0,
        metavar="N",
        help="save the model after every N epochs, in DIR/checkpoint-epochN",
    )
    command.add_argument(
        "--tensorboard", metavar="DIR", help="write curves there, for tensorboard --logdir DIR"
    )
    command.add_argument("--json", action="store_true", help="print metrics.json")
    command.set_defaults(group="train")


def add_compare(commands: Commands) -> None:
    """The options of `mtl compare`."""
    command = commands.add_parser(
        "compare",
        help="does sharing help? each task alone and all together, over seeds",
        description="Writes compare.json (all runs) and compare.csv, compare.md, compare.png "
        "(their summary). To continue a comparison that was stopped, give the same command and "
        "--output. With more seeds, methods or sizes only the new runs are made; the summary "
        "covers what the last command names.",
    )
    add_recipe_options(command)
    command.add_argument("--seeds", type=int, default=5, metavar="N", help="how many; default 5")
    command.add_argument(
        "--methods",
        nargs="+",
        default=["fixed"],
        metavar="M",
        help="alternating, joint, sampled; fixed, uncertainty, dwa, gradnorm, random; pcgrad, "
        "UPGrad and others of TorchJD, with options in brackets: 'CAGrad(c=0.4)'; capitals count: "
        "pcgrad is ours, PCGrad TorchJD's; mymodule:MyWeighting is one you wrote",
    )
    command.add_argument(
        "--sizes",
        nargs="+",
        default=[],
        metavar="TASK=SHARE",
        help="the share of a task's data to train on, such as qa=0.1, or ner=0.5,qa=0.1",
    )
    command.add_argument("--output", metavar="DIR", help="default runs/compare-RECIPE/N")
    command.add_argument("--json", action="store_true", help="print compare.json")
    command.set_defaults(group="train")


def add_recipe_options(command: argparse.ArgumentParser) -> None:
    """Which recipe, and what to change in it."""
    command.add_argument("recipe", metavar="RECIPE", help="a bundled name, or a .toml file")
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        # --set may be given several times, each with several settings.
        action="extend",
        default=[],
        help="change keys of the recipe, such as train.epochs=4 or tasks.ner.train=FILE",
    )
    command.add_argument(
        "--data",
        metavar="[KEY=]PATH",
        nargs="+",
        action="extend",
        default=[],
        help="train on this file, or on the train, dev and test files of this folder; test=PATH "
        "is for one split; NAME=PATH or NAME.test=PATH where the recipe has several datasets, or "
        "a folder with a folder for each",
    )
    command.add_argument("--strict", action="store_true", help=STRICT)
    command.add_argument("--preset", metavar="NAME", help="a table [presets.NAME] of the recipe")
    command.add_argument("--hardware", metavar="NAME", help="a table [hardware.NAME] of the recipe")
    command.add_argument("--seed", type=int, metavar="N", help="the same as --set seed=N")
    command.add_argument(
        "--on-error", choices=("stop", "skip"), help="stop at bad records, or leave them out"
    )
    add_import(command)


def add_import(command: argparse.ArgumentParser) -> None:
    """Which modules hold the user's own tasks and methods; a model folder cannot name them."""
    command.add_argument(
        "--import",
        # `options.import` would be a syntax error.
        dest="modules",
        metavar="MODULE",
        action="append",
        default=[],
        help="import this module first, for tasks and methods of your own; it may lie in the "
        "working directory",
    )


def add_evaluate(commands: Commands) -> None:
    """The options of `mtl evaluate`."""
    command = commands.add_parser("evaluate", help="score a trained model")
    command.add_argument("folder", metavar="DIR", help="a run folder")
    add_import(command)
    command.add_argument("--task", metavar="T", help="name or kind; default all")
    command.add_argument(
        "--data",
        metavar="[NAME=]PATH",
        action="append",
        default=[],
        help="a file, or a folder whose test (or else dev) file is used; NAME=PATH says for which "
        "task or dataset; default: the test data of its recipe",
    )
    command.add_argument("--on-error", choices=("stop", "skip"), default="stop")
    command.add_argument("--strict", action="store_true", help=STRICT)
    command.add_argument("--json", action="store_true")
    command.set_defaults(group="evaluate")


def add_predict(commands: Commands) -> None:
    """The options of `mtl predict`."""
    command = commands.add_parser(
        "predict",
        help="use a trained model",
        description="Without --text or --question, inputs are read from standard input, and "
        "answered as they arrive: one text per line, or for tasks that read two texts "
        '{"question": ..., "context": ...} on each line (or "text" and "text_pair", "premise" and '
        '"hypothesis", "sentence1" and "sentence2").',
    )
    command.add_argument("folder", metavar="DIR", help="a run folder")
    add_import(command)
    command.add_argument(
        "--task", metavar="T", help="name or kind of a task, or all (those that read such input)"
    )
    command.add_argument("--text", help="a text, or the first of two")
    command.add_argument("--text-pair", metavar="TEXT", help="the second of two texts")
    command.add_argument(
        "--words",
        action="store_true",
        help="words are separated by blanks, as in a file with one word per line; a line of "
        'input may also be a JSON list of words: ["王", "小", "明"]',
    )
    command.add_argument(
        "--data",
        metavar="FILE",
        help="a file with one word per line and a blank line after each sentence",
    )
    command.add_argument("--question", metavar="TEXT", help="used with --context")
    command.add_argument("--context", metavar="TEXT")
    command.add_argument(
        "--top",
        type=int,
        default=1,
        metavar="N",
        help="the N best answers to a question (at most 20)",
    )
    command.add_argument(
        "--batch-size", type=int, metavar="N", help="texts to run through the model at once"
    )
    command.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="skip: leave out lines that cannot be read, and count them",
    )
    command.add_argument("--json", action="store_true", help="one JSON object per line")
    command.set_defaults(group="predict")


def add_validate(commands: Commands) -> None:
    """The options of `mtl validate`."""
    command = commands.add_parser(
        "validate",
        help="try a trained model on ten cases about well-known facts",
        description="Five sentences for entities, five questions. Verdicts: exact, partial, wrong.",
    )
    command.add_argument("folder", metavar="DIR", help="a run folder")
    add_import(command)
    command.add_argument("--json", action="store_true")
    command.set_defaults(group="evaluate")


def add_interactive(commands: Commands) -> None:
    """The options of `mtl interactive`."""
    command = commands.add_parser(
        "interactive", help="a menu to try a trained model on your own sentences and questions"
    )
    command.add_argument("folder", metavar="DIR", help="a run folder")
    add_import(command)
    command.set_defaults(group="predict")


def add_serve(commands: Commands) -> None:
    """The options of `mtl serve`; their defaults are those of `ServeSettings`."""
    command = commands.add_parser(
        "serve",
        help="let other programs use trained models, over HTTP",
        description="Endpoints, with examples, are at /docs. If the variable MTL_API_KEY is set, "
        "clients have to send that key (Authorization: Bearer KEY). SIGTERM answers what has "
        "arrived and ends; SIGHUP loads the folders again.",
    )
    command.add_argument(
        "folders", metavar="[NAME=]RUN", nargs="+", help="run folders; NAME is for requests"
    )
    for name, kind, help in (
        ("host", str, "address to listen on; 0.0.0.0 for the whole network"),
        ("port", int, "port to listen on; 0 for any free one"),
        ("workers", int, "processes, each with its own copy of the models"),
        ("threads", int, "threads in each process; 0 for all cores, divided by the workers"),
        ("max-body", int, "most bytes in a request"),
        ("max-texts", int, "most texts in a request"),
        ("max-length", int, "most characters in a text"),
        ("max-queue", int, "most texts that wait in a process; more are refused with 503"),
        ("timeout", float, "seconds for a request to arrive, and to be answered"),
    ):
        default = getattr(ServeSettings, name.replace("-", "_"))
        metavar = "ADDRESS" if kind is str else "N"
        help = f"{help}; default {default}"
        command.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=help)
    command.add_argument(
        "--cors",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="let pages of this origin call the service from a browser",
    )
    command.add_argument("--log-texts", action="store_true", help="write all texts into the log")
    add_import(command)
    command.set_defaults(group="serve")


def add_export(commands: Commands) -> None:
    """The options of `mtl export`."""
    command = commands.add_parser(
        "export",
        help="write a trained model for other programs",
        description="onnx: one graph with the encoder once and every head, which mtl.load_onnx "
        "and the other commands read; its outputs and scores are compared with the model's. "
        "transformers: one task, for AutoModelForTokenClassification and the like. "
        "sentence-transformers: one embedding task.",
    )
    command.add_argument("folder", metavar="DIR", help="a run folder")
    add_import(command)
    command.add_argument(
        "--format", choices=("onnx", "transformers", "sentence-transformers"), default="onnx"
    )
    command.add_argument("--task", metavar="T", help="name or kind, for a format with one head")
    weights = command.add_mutually_exclusive_group()
    weights.add_argument(
        "--int8", action="store_true", help="onnx: matrices of the encoder in eight bits"
    )
    weights.add_argument(
        "--half", action="store_true", help="onnx: weights in float16, computed with in float32"
    )
    command.add_argument("--output", metavar="DIR", required=True, help="a new or empty folder")
    command.add_argument("--json", action="store_true", help="print what was found as JSON")
    command.set_defaults(group="export")


def _columns(text: str) -> str | list[str]:
    """One column, or several with commas between them."""
    return text.split(",") if "," in text else text


def add_check(commands: Commands) -> None:
    """The options of `mtl check`."""
    command = commands.add_parser(
        "check",
        help="show what is in a data file or folder, and what is wrong with it",
        description="Exit status 1 if there is any problem.",
    )
    command.add_argument("file", metavar="PATH", help="a file of any form, or a folder of files")
    command.add_argument("--column", metavar="C", type=_columns, help=COLUMN)
    command.add_argument("--label-names", metavar="NAME", nargs="+", help=LABEL_NAMES)
    command.add_argument("--strict", action="store_true", help=STRICT)
    command.set_defaults(group="data")


def add_convert(commands: Commands) -> None:
    """The options of `mtl convert`."""
    command = commands.add_parser("convert", help="write a data file in another form")
    command.add_argument("input", metavar="IN", help="a file of any form")
    command.add_argument("output", metavar="OUT", help="the file to write")
    command.add_argument("--to", choices=list(WRITERS), help="default: by the ending of OUT")
    command.add_argument("--column", metavar="C", type=_columns, help=COLUMN)
    command.add_argument("--label-names", metavar="NAME", nargs="+", help=LABEL_NAMES)
    command.add_argument("--strict", action="store_true", help=STRICT)
    command.add_argument("--on-error", choices=("stop", "skip"), default="stop")
    command.add_argument("--overwrite", action="store_true", help="replace OUT")
    command.set_defaults(group="data")


def add_toy(commands: Commands) -> None:
    """The options of `mtl toy`."""
    command = commands.add_parser("toy", help="write toy data, a template for your own files")
    command.add_argument("kind", metavar="KIND", help=", ".join(GENERATORS))
    command.add_argument("--split", default="train", choices=SPLITS)
    command.add_argument("--n", type=int, default=500, metavar="N", help="how many examples")
    command.add_argument("--seed", type=int, default=0, metavar="N")
    command.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help=".conll (sentences with tags), .json (questions, SQuAD form) or .jsonl (all kinds)",
    )
    command.add_argument("--overwrite", action="store_true", help="replace FILE")
    command.set_defaults(group="data")


def add_recipes(commands: Commands) -> None:
    """The options of `mtl recipes`."""
    command = commands.add_parser("recipes", help="list the bundled recipes")
    command.set_defaults(group="data")
