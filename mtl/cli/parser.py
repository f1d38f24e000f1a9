"""The options of every command: a command line goes in, a namespace comes out.

`mtl --help` waits for every import here, so none may need torch, which takes seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ..data.readers import WRITERS
from ..toy import GENERATORS, SPLITS
from ..version import __version__
from .model_options import (
    STRICT,
    add_evaluate,
    add_export,
    add_import,
    add_interactive,
    add_predict,
    add_serve,
    add_validate,
)

if TYPE_CHECKING:
    from .model_options import Commands

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
