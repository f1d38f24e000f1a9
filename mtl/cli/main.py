"""The command `mtl`: words of a shell go in, an exit status comes out.

Results go to stdout, progress and messages to stderr. Exit 0: done; 1: the data or the model could
not be used; 2: wrong usage, unknown recipe or key included.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..data.check import check_file
from ..data.readers import WRITERS, files_of, read, read_words, write_examples
from ..devices import choose_device
from ..errors import ConfigError, DataError, DataWarning, Fault, MTLError, TrainingWarning, suggest
from ..experiments.build import build_tasks
from ..experiments.compare import compare
from ..experiments.data import check_kind, reader_options
from ..experiments.folder import CASES_FILE, RECIPE_FILE, next_run_folder
from ..experiments.overrides import split_data
from ..experiments.recipe import Recipe, bundled_recipes, load_recipe
from ..experiments.run import run_recipe
from ..experiments.summary import comparison_tables
from ..inference import (
    Predictions,
    answer,
    encode_labelled,
    predict,
    predictions_of,
    score_baselines,
)
from ..model import MultiTaskModel
from ..reports.cases import CaseResult, cases_summary, cases_table, check_cases, why_left_out
from ..tables import format_table, metrics_table, scores_table
from ..tasks import Task
from ..tasks.base import score_of
from ..toy import GENERATORS, SPLITS
from ..version import __version__
from .interactive import interact
from .stdin import arriving_lines, decode_line

ALL = "all"
STRICT = "refuse tags that break the scheme of their file, rather than repair and count them"
COLUMN = "of the tags, or of the label in a table: its number from 1, or its name"
LABEL_NAMES = "what tags or labels that are whole numbers mean, in order from 0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = build_parser().parse_args(arguments)
    options.line = _without_output(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.simplefilter("always", TrainingWarning)
        warnings.showwarning = _show_warning
        try:
            status = options.command(options)
            sys.stdout.flush()
            return status or 0
        except MTLError as error:
            print(f"mtl: error: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("\nmtl: stopped", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="mtl", description="One Transformer encoder, shared by several language tasks."
    )
    parser.add_argument("--version", action="version", version=describe_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a recipe and test it once")
    _add_recipe_options(train)
    train.add_argument("--output", metavar="DIR", help="run folder; default runs/RECIPE/N")
    train.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    train.add_argument(
        "--resume", action="store_true", help="go on with the run that was stopped in DIR, if any"
    )
    train.add_argument(
        "--save-every-steps",
        type=int,
        default=0,
        metavar="N",
        help="save what --resume goes on from after every N steps, not only after each epoch",
    )
    train.add_argument(
        "--save-every",
        type=int,
        default=0,
        metavar="N",
        help="save the model after every N epochs, in DIR/checkpoint-epochN",
    )
    train.add_argument("--json", action="store_true", help="print metrics.json")
    train.set_defaults(command=run_train)

    compare_ = commands.add_parser(
        "compare",
        help="does sharing help? each task alone and all together, over seeds",
        description="Writes compare.json (all runs) and compare.csv, compare.md, compare.png "
        "(their summary). A comparison that was stopped goes on with the same command and "
        "--output. With more seeds, methods or sizes only the new runs are made; the summary is of "
        "what the last command names.",
    )
    _add_recipe_options(compare_)
    compare_.add_argument("--seeds", type=int, default=5, metavar="N", help="how many; default 5")
    compare_.add_argument(
        "--methods",
        nargs="+",
        default=["fixed"],
        metavar="M",
        help="alternating, joint, sampled; fixed, uncertainty, dwa, gradnorm, random; pcgrad, "
        "UPGrad and others of TorchJD, with options in brackets: 'CAGrad(c=0.4)'; capitals count: "
        "pcgrad is ours, PCGrad TorchJD's",
    )
    compare_.add_argument(
        "--sizes",
        nargs="+",
        default=[],
        metavar="TASK=SHARE",
        help="the share of a task's data to train on, such as qa=0.1, or ner=0.5,qa=0.1",
    )
    compare_.add_argument("--output", metavar="DIR", help="default runs/compare-RECIPE/N")
    compare_.add_argument("--json", action="store_true", help="print compare.json")
    compare_.set_defaults(command=run_compare)

    evaluate_ = commands.add_parser("evaluate", help="score a trained model")
    evaluate_.add_argument("folder", metavar="DIR", help="a run folder")
    evaluate_.add_argument("--task", metavar="T", help="name or kind; default all")
    evaluate_.add_argument(
        "--data",
        metavar="[NAME=]PATH",
        action="append",
        default=[],
        help="a file, or a folder whose test (or else dev) file is used; tasks.NAME=PATH or "
        "datasets.NAME=PATH says for which tasks; default: the test data of its recipe",
    )
    evaluate_.add_argument("--on-error", choices=("stop", "skip"), default="stop")
    evaluate_.add_argument("--strict", action="store_true", help=STRICT)
    evaluate_.add_argument("--json", action="store_true")
    evaluate_.set_defaults(command=run_evaluate)

    predict_ = commands.add_parser(
        "predict",
        help="use a trained model",
        description="Without --text or --question, inputs are read from standard input, and "
        "answered as they arrive: one text per line, or for question answering "
        '{"question": ..., "context": ...} on each line.',
    )
    predict_.add_argument("folder", metavar="DIR", help="a run folder")
    predict_.add_argument(
        "--task", metavar="T", help="name or kind of a task, or all (that read single texts)"
    )
    predict_.add_argument("--text")
    predict_.add_argument(
        "--words",
        action="store_true",
        help="words are separated by blanks, as in a file with one word per line; a line of "
        'input may also be a JSON list of words: ["王", "小", "明"]',
    )
    predict_.add_argument(
        "--data",
        metavar="FILE",
        help="a file with one word per line and a blank line after each sentence",
    )
    predict_.add_argument("--question")
    predict_.add_argument("--context")
    predict_.add_argument(
        "--top",
        type=int,
        default=1,
        metavar="N",
        help="the N best answers to a question (at most 20)",
    )
    predict_.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="skip: leave out lines that cannot be read, and count them",
    )
    predict_.add_argument("--json", action="store_true", help="one JSON object per line")
    predict_.set_defaults(command=run_predict)

    validate = commands.add_parser(
        "validate",
        help="try a trained model on ten cases about well-known facts",
        description="Five sentences for entities, five questions. Verdicts: exact, partial, wrong.",
    )
    validate.add_argument("folder", metavar="DIR", help="a run folder")
    validate.add_argument("--json", action="store_true")
    validate.set_defaults(command=run_validate)

    interactive = commands.add_parser(
        "interactive", help="a menu to try a trained model on your own sentences and questions"
    )
    interactive.add_argument("folder", metavar="DIR", help="a run folder")
    interactive.set_defaults(command=run_interactive)

    check = commands.add_parser(
        "check",
        help="say what is in a data file or folder, and what is wrong with it",
        description="Exit status 1 if there is any problem.",
    )
    check.add_argument("file", metavar="PATH", help="a file of any form, or a folder of files")
    check.add_argument("--column", metavar="C", help=COLUMN)
    check.add_argument("--label-names", metavar="NAME", nargs="+", help=LABEL_NAMES)
    check.add_argument("--strict", action="store_true", help=STRICT)
    check.set_defaults(command=run_check)

    convert = commands.add_parser("convert", help="write a data file in another form")
    convert.add_argument("input", metavar="IN", help="a file of any form")
    convert.add_argument("output", metavar="OUT", help="the file to write")
    convert.add_argument("--to", choices=list(WRITERS), help="default: what the ending of OUT says")
    convert.add_argument("--column", metavar="C", help=COLUMN)
    convert.add_argument("--label-names", metavar="NAME", nargs="+", help=LABEL_NAMES)
    convert.add_argument("--strict", action="store_true", help=STRICT)
    convert.add_argument("--on-error", choices=("stop", "skip"), default="stop")
    convert.add_argument("--overwrite", action="store_true", help="replace OUT")
    convert.set_defaults(command=run_convert)

    toy = commands.add_parser("toy", help="write toy data, a template for your own files")
    toy.add_argument("kind", metavar="KIND", help=", ".join(GENERATORS))
    toy.add_argument("--split", default="train", choices=SPLITS)
    toy.add_argument("--n", type=int, default=500, metavar="N", help="how many examples")
    toy.add_argument("--seed", type=int, default=0, metavar="N")
    toy.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help=".conll (sentences with tags), .json (questions, SQuAD form) or .jsonl (all kinds)",
    )
    toy.add_argument("--overwrite", action="store_true", help="replace FILE")
    toy.set_defaults(command=run_toy)

    recipes = commands.add_parser("recipes", help="list the bundled recipes")
    recipes.set_defaults(command=run_recipes)
    return parser


def _without_output(arguments: Sequence[str]) -> str:
    """The command as one line; where it wrote to does not change what it did."""
    words = [word for word in arguments if not word.startswith("--output=")]
    if "--output" in words:
        at = words.index("--output")
        del words[at : at + 2]
    return shlex.join(["mtl", *words])


def _add_recipe_options(command: argparse.ArgumentParser) -> None:
    """Which recipe, and what is changed in it."""
    command.add_argument("recipe", metavar="RECIPE", help="a bundled name, or a .toml file")
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="change keys of the recipe, such as train.epochs=4 or tasks.ner.train=FILE",
    )
    command.add_argument(
        "--data",
        metavar="[NAME=]PATH",
        action="append",
        default=[],
        help="train on this file, or on the train, dev and test files of this folder; "
        "tasks.NAME=PATH or datasets.NAME=PATH where the recipe has several datasets",
    )
    command.add_argument("--strict", action="store_true", help=STRICT)
    command.add_argument("--preset", metavar="NAME", help="a table [presets.NAME] of the recipe")
    command.add_argument("--hardware", metavar="NAME", help="a table [hardware.NAME] of the recipe")
    command.add_argument("--seed", type=int, metavar="N", help="the same as --set seed=N")
    command.add_argument(
        "--on-error", choices=("stop", "skip"), help="stop at bad records, or leave them out"
    )


def describe_version() -> str:
    """Versions of mtl and torch, and the devices torch finds."""
    devices = [f"cuda ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return f"mtl {__version__}, torch {torch.__version__}, devices: {', '.join(['cpu', *devices])}"


def run_train(options: argparse.Namespace) -> int:
    """`mtl train`; exit status 1 if something about the trained model could not be reported."""
    recipe = _chosen_recipe(options)
    if options.resume and not options.output:
        raise ConfigError("--resume needs to know which run", fix="add --output DIR")
    with _output_folder(options, recipe.name) as output:
        metrics = run_recipe(
            recipe,
            output,
            overwrite=options.overwrite,
            resume=options.resume,
            save_every=options.save_every,
            save_every_steps=options.save_every_steps,
        )
    if options.json:
        print(json.dumps(metrics, indent=2))
    else:
        _print_run(metrics, output)
    for what, why in metrics.get("not_reported", {}).items():
        print(f"mtl: error: {what}: {why}", file=sys.stderr)
    if "not_reported" in metrics:
        fix = f"fix this, and give the same command with --output {output} --resume"
        print(f"  to do: the model is trained and saved; {fix}", file=sys.stderr)
        return 1
    return 0


def _print_run(metrics: dict[str, Any], output: Path) -> None:
    print(metrics_table(metrics))
    cases_file = output / CASES_FILE
    if cases_file.exists():
        content = json.loads(cases_file.read_text(encoding="utf-8"))
        cases = [CaseResult(**case) for case in content]
        print(f"\nwell-known facts (mtl validate {output}): {cases_summary(cases)}")
    print(
        f"\ntrained {metrics['parameters']:,} parameters in {metrics['train_seconds']:.1f} s; "
        f"model, metrics and curves are in {output}"
    )


def _output_folder(options: argparse.Namespace, name: str) -> AbstractContextManager[Path]:
    """The folder that --output names, or a new one."""
    return nullcontext(Path(options.output)) if options.output else next_run_folder(name)


def _chosen_recipe(options: argparse.Namespace) -> Recipe:
    settings = list(options.set)
    settings += [f"seed={options.seed}"] if options.seed is not None else []
    settings += [f'on_error="{options.on_error}"'] if options.on_error else []
    settings += ["strict=true"] if options.strict else []
    return load_recipe(
        options.recipe,
        settings,
        data=options.data,
        preset=options.preset,
        hardware=options.hardware,
    )


def run_compare(options: argparse.Namespace) -> int:
    """`mtl compare`; exit status 1 if a run failed."""
    recipe = _chosen_recipe(options)
    with _output_folder(options, f"compare-{recipe.name}") as output:
        content = compare(
            recipe,
            output,
            seeds=options.seeds,
            methods=options.methods,
            sizes=options.sizes,
            command=options.line,
        )
    if options.json:
        print(json.dumps(content, indent=2))
    else:
        print(comparison_tables(content["summary"], content["cost"]))
        print(f"\nevery run, tables and picture are in {output}")
    for plan, why in content.get("failed", {}).items():
        print(f"mtl: error: {plan}: {why}", file=sys.stderr)
    return 1 if "failed" in content else 0


def load_model(folder: str) -> MultiTaskModel:
    """The model of a run folder, on the best device there is."""
    return MultiTaskModel.from_pretrained(folder).to(choose_device())


def run_evaluate(options: argparse.Namespace) -> None:
    """`mtl evaluate`."""
    model = load_model(options.folder)
    chosen = [model.task(options.task)] if options.task else list(model.tasks.values())
    read = _given_examples if options.data else _test_examples
    examples = read(options, chosen)
    results = {}
    for name, split in examples.items():
        if not model.tasks[name].labelled(split):
            path = ", ".join(options.data) or None
            raise DataError(f"no example has a label for the task {name!r}", path=path)
        task, encoded = encode_labelled(model, name, split, options.on_error)
        labelled, predictions = predictions_of(model, name, encoded, progress=True)
        scores = {"model": score_of(task, labelled, predictions)}
        for remark in task.remarks(scores["model"]):
            warnings.warn(f"{name}: {remark}", DataWarning, stacklevel=1)
        results[name] = scores | score_baselines(model, task, encoded)
        if not options.json:
            report = model.tasks[name].report(labelled, predictions)
            print(f"{name}, {len(labelled):,} examples\n{scores_table(results[name])}\n")
            print(f"{report}\n\n" if report else "", end="")
    if options.json:
        print(json.dumps(results, indent=2))


def _given_examples(options: argparse.Namespace, chosen: list[Task]) -> dict[str, Sequence[Any]]:
    """The examples that --data names, by task; the options of its reader are the recipe's."""
    path = Path(options.folder) / RECIPE_FILE
    recipe = load_recipe(path) if path.exists() else None
    examples: dict[str, Sequence[Any]] = {}
    for item in options.data:
        section, file = split_data(item)
        tasks = _tasks_of_section(section, chosen, recipe)
        for task in tasks:
            data, fields = None, []
            if recipe is not None and task.name in recipe.tasks:
                data, fields = recipe.source_of(task.name), recipe.fields_of(task.name)
            files = files_of(file)
            split = next((s for s in ("test", "validation", "train") if s in files), None)
            if split == "train" and files["train"] != Path(file):
                fix = "name the file to score"
                raise DataError("the folder has no test or dev file", path=file, fix=fix)
            if files[split] != Path(file):
                print(f"{task.name}: scored on {files[split]}", file=sys.stderr)
            strict = options.strict or (recipe is not None and recipe.strict)
            given = reader_options(data, strict, fields)
            examples[task.name] = task.read(files[split], options.on_error, **given)
            check_kind(task.name, type(task), examples[task.name], files[split])
    return examples


def _tasks_of_section(section: str | None, chosen: list[Task], recipe: Recipe | None) -> list[Task]:
    """The tasks that data is for: of a section, or all if they share one dataset."""
    kind, _, name = (section or "").partition(".")
    of = {t: recipe.tasks[t].data for t in recipe.tasks} if recipe is not None else {}
    if kind == "tasks":
        found = [task for task in chosen if task.name == name]
    elif kind == "datasets":
        found = [task for task in chosen if of.get(task.name) == name]
    else:
        shared = {of.get(task.name) or task.name for task in chosen}
        found = chosen if len(shared) == 1 else []
    if not found:
        names = ", ".join(task.name for task in chosen)
        raise ConfigError(
            "which task is the data for?",
            found=section,
            fix=f"add --task, one of {names}; or write --data tasks.{chosen[0].name}=PATH",
        )
    return found


def _test_examples(options: argparse.Namespace, chosen: list[Task]) -> dict[str, Sequence[Any]]:
    """The test split of each task, from the recipe that the run folder holds."""
    path = Path(options.folder) / RECIPE_FILE
    if not path.exists():
        raise DataError(
            f"the folder has no {RECIPE_FILE} that says what the test data is",
            path=options.folder,
            fix="give --task and --data",
        )
    recipe = load_recipe(path)
    if recipe.on_error == "skip":  # as the run itself did in its test
        options.on_error = "skip"
    tests = {task.name: task.dataset.test for task in build_tasks(recipe)}
    examples = {
        task.name: tests[task.name] for task in chosen if task.labelled(tests.get(task.name, ()))
    }
    if not examples:
        raise DataError("the recipe has no test data", path=path, fix="give --task and --data")
    return examples


def run_predict(options: argparse.Namespace) -> int:
    """`mtl predict`: every input that can be read is answered, and the others are listed."""
    model = load_model(options.folder)
    asked = options.question is not None or options.context is not None
    if asked and (options.question is None or options.context is None):
        raise ConfigError("--question and --context go together", fix="give both")
    if asked and options.text is not None:
        raise ConfigError("give --text, or --question with --context, not both")
    tasks = _tasks_to_predict(model, options.task, asked)
    reads_pairs = tasks[0].reads_pairs
    if reads_pairs and options.text is not None:
        raise ConfigError("a question needs --question and --context, not --text")
    if reads_pairs and (options.words or options.data):
        what = "--words and --data are for tasks that read single texts"
        raise ConfigError(what, found=tasks[0].name)
    if options.data and options.text is not None:
        raise ConfigError("give --text, or --data, not both")
    if asked and not reads_pairs:
        raise ConfigError(f"the task {tasks[0].name!r} reads a --text, not a question")
    if options.top != 1 and not reads_pairs:
        raise ConfigError("--top goes with a question", found=f"--top {options.top}")
    guessed = [task.name for task in tasks if task.words_given]
    if guessed and not (options.words or options.data):
        print(
            f"mtl: note: {', '.join(guessed)} learned from a file with words of its own; plain "
            "text is split by our own rule. If you have words, give them with --words",
            file=sys.stderr,
        )
    if options.data:
        sentences = read_words(options.data)
        _print_predictions(
            model, _predict_inputs(model, tasks, sentences, options), sentences, options
        )
        return 0
    if asked or options.text is not None:
        pair = (options.question, options.context)
        given = pair if asked else _parse_line(options.text, tasks, options)
        _print_predictions(model, _predict_inputs(model, tasks, [given], options), [given], options)
        return 0
    return _predict_lines(model, tasks, options)


def _predict_lines(
    model: MultiTaskModel, tasks: Sequence[Task], options: argparse.Namespace
) -> int:
    """Answer the lines of standard input as they arrive; 1 if one could not be read."""
    faults: list[Fault] = []
    empty, n_lines = [], 0
    for lines in arriving_lines():
        n_lines += len(lines)
        inputs: list[tuple[int, Any]] = []
        for number, line in lines:
            try:
                text = decode_line(number, line)
                if text.strip():
                    inputs.append((number, _parse_line(text, tasks, options)))
                else:
                    empty.append(number)
            except DataError as error:
                faults += [replace(fault, path="stdin", line=number) for fault in error.faults]
        for inputs_read, results in _readable(model, tasks, inputs, faults, options):
            _print_predictions(model, results, inputs_read, options)
    if not n_lines:
        raise DataError("there is no input", path="stdin", fix="give --text, or a line of input")
    if empty:
        where = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        print(f"mtl: note: empty lines are left out: {len(empty)} (line {where})", file=sys.stderr)
    if not faults:
        return 0
    error = DataError.collect(sorted(faults, key=lambda fault: fault.line or 0))
    if options.on_error == "skip":
        n = len({fault.line for fault in faults})
        print(f"mtl: note: lines left out: {n}. The first: {error.faults[0]}", file=sys.stderr)
        return 0
    raise error


def _readable(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    inputs: list[tuple[int, Any]],
    faults: list[Fault],
    options: argparse.Namespace,
) -> Iterator[tuple[list[Any], list[Predictions]]]:
    """Inputs with their predictions, all at once; one by one if one of them cannot be read."""
    if not inputs:
        return
    given = [value for _, value in inputs]
    try:
        yield given, _predict_inputs(model, tasks, given, options)
    except DataError as error:
        if len(inputs) == 1:
            faults += [replace(fault, path="stdin", line=inputs[0][0]) for fault in error.faults]
            return
        for one in inputs:
            yield from _readable(model, tasks, [one], faults, options)


def _predict_inputs(
    model: MultiTaskModel, tasks: Sequence[Task], given: list[Any], options: argparse.Namespace
) -> list[Predictions]:
    """What the tasks predict for texts, lists of words, or pairs of question and context."""
    if not tasks[0].reads_pairs:
        return predict(model, given, [task.name for task in tasks], progress=True)
    results = [Predictions() for _ in given]
    for task in tasks:
        answers = answer(model, *map(list, zip(*given, strict=True)), task=task.name, n=options.top)
        for result, found in zip(results, answers, strict=True):
            result[task.name] = found
    return results


def _print_predictions(
    model: MultiTaskModel,
    results: Iterable[Predictions],
    inputs: Iterable[str | list[str] | tuple[str, str]],
    options: argparse.Namespace,
) -> None:
    """Task, input and prediction; or one JSON object a line, by task name for `--task all`."""
    for result, given in zip(results, inputs, strict=True):
        if options.json:
            plain = result.to_dict()
            if options.task != ALL:
                (plain,) = plain.values()
            print(json.dumps(plain, ensure_ascii=False))
            continue
        for name, prediction in result.items():
            kind = model.tasks[name].kind
            print(f"task: {name}" + (f" ({kind})" if kind != name else ""))
            print(f"input: {_shown(given)}")
            print(f"prediction: {prediction}\n")
    sys.stdout.flush()  # a program that reads our output need not wait for the next input


def _shown(given: str | list[str] | tuple[str, str]) -> str:
    """A text, the question of a pair, or words with blanks between them."""
    if isinstance(given, list):
        return " ".join(given)
    return given if isinstance(given, str) else given[0]


def _tasks_to_predict(model: MultiTaskModel, name: str | None, asked: bool) -> list[Task]:
    """The one task of a name or kind, or all tasks that read what is given."""
    if name is not None and name != ALL:
        return [model.task(name)]
    fitting = [task for task in model.tasks.values() if task.reads_pairs == asked]
    if not fitting and name == ALL:
        what = "a question" if asked else "a single text"
        fix = f"give {'--text' if asked else '--question and --context'}"
        raise ConfigError(f"no task of the model reads {what}", fix=fix)
    if not fitting or (name is None and len(fitting) > 1):
        known = ", ".join([*model.tasks, ALL])
        raise ConfigError("which task?", fix=f"add --task, one of {known}")
    return fitting


def _parse_line(line: str, tasks: Sequence[Task], options: argparse.Namespace) -> Any:
    """The text, list of words, or pair that a line of input holds."""
    if tasks[0].reads_pairs:
        return _pair_of(line)
    if not options.words:
        return line
    if line.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            words = json.loads(line)
            if all(isinstance(word, str) for word in words):
                return words
            if not all(isinstance(word, int | float) for word in words):  # "[ 1 ]" are three words
                fix = 'write every word in quotes: ["Ann", "left"]'
                raise DataError("the list holds more than words", found=repr(line[:80]), fix=fix)
    return line.split()


def _pair_of(line: str) -> tuple[str, str]:
    form = 'write {"question": "...", "context": "..."} on one line'
    try:
        record = json.loads(line)
        line.encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"the line is not JSON: {error}", found=repr(line[:80]), fix=form) from None
    keys = ("question", "context")
    pair = tuple(record.get(key) for key in keys) if isinstance(record, dict) else ()
    if len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
        what = "the line does not hold a question and a context"
        raise DataError(what, found=repr(line[:80]), fix=form)
    return pair


def run_validate(options: argparse.Namespace) -> None:
    """`mtl validate`."""
    model = load_model(options.folder)
    results, left_out = check_cases(model), why_left_out(model)
    if not results:
        raise ConfigError(
            "the cases are for tasks that find entities or answer questions",
            path=options.folder,
            found="; ".join(left_out) or "a model with neither",
            fix="use mtl predict, or mtl evaluate",
        )
    for line in left_out:
        print(f"mtl: note: {line}", file=sys.stderr)
    if options.json:
        print(json.dumps([result.to_dict() for result in results], ensure_ascii=False, indent=2))
        return
    print(f"{cases_table(results)}\n\n{cases_summary(results)}")


def run_interactive(options: argparse.Namespace) -> None:
    """`mtl interactive`."""
    model = load_model(options.folder)
    try:
        interact(model)
    except UnicodeDecodeError:
        fix = "convert it to UTF-8 first"
        raise DataError("the input is not UTF-8", path="stdin", fix=fix) from None


def _options_of_reading(options: argparse.Namespace) -> dict[str, Any]:
    names = ("strict", "column", "label_names")
    return {name: getattr(options, name) for name in names}


def run_check(options: argparse.Namespace) -> int:
    """`mtl check`."""
    report = check_file(options.file, **_options_of_reading(options))
    print(report)
    return 1 if report.problems else 0


def run_convert(options: argparse.Namespace) -> None:
    """`mtl convert`."""
    output = Path(options.output)
    if output.exists() and not options.overwrite:
        raise ConfigError("the file exists", path=output, fix="add --overwrite to replace it")
    examples = read(options.input, options.on_error, **_options_of_reading(options))
    write_examples(examples, output, options.to)
    print(f"wrote {len(examples):,} examples ({examples.form}) to {output}", file=sys.stderr)


def run_toy(options: argparse.Namespace) -> None:
    """`mtl toy`."""
    if options.kind not in GENERATORS:
        raise ConfigError(
            "unknown kind of toy data",
            found=repr(options.kind),
            fix=suggest(options.kind, GENERATORS),
        )
    if options.n < 1:
        raise ConfigError("--n must be at least 1", found=str(options.n))
    output = Path(options.output)
    if output.exists() and not options.overwrite:
        raise ConfigError("the file exists", path=output, fix="add --overwrite to replace it")
    write_examples(GENERATORS[options.kind](options.split, options.n, options.seed), output)
    print(f"wrote {options.n:,} examples to {output}", file=sys.stderr)


def run_recipes(options: argparse.Namespace) -> None:
    """`mtl recipes`."""
    print(format_table(["recipe", "what it does"], list(bundled_recipes().items())))


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any) -> None:
    if issubclass(category, DataWarning | TrainingWarning):
        print(f"mtl: note: {message}", file=sys.stderr)
    else:
        print(f"mtl: warning: {category.__name__}: {message}", file=sys.stderr)
