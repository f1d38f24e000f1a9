"""The parser of `mtl` goes in; it comes out with the commands that use a trained model.

As in `parser`, nothing here may need torch.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..serve.settings import ServeSettings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

STRICT = "refuse tags that break the scheme of their file, rather than repair and count them"


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
    command.add_argument(
        "--input",
        metavar="FILE",
        help="with --output: predict for all records of a .txt (one text per line), .jsonl, .csv, "
        ".tsv or .parquet file of any size; - is standard input",
    )
    command.add_argument(
        "--output",
        metavar="FILE",
        help="a .jsonl, .csv, .tsv or .parquet file; if the command is stopped, give it again to "
        "go on",
    )
    command.add_argument(
        "--fields",
        metavar="NAME",
        nargs="+",
        default=[],
        help="the field or column of the text, or of both texts of a pair, if it is not found",
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
        help="skip: leave out lines that cannot be read, and count them; with --output, what is "
        "wrong with them is written in their places",
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
