"""`mtl predict` and `mtl interactive`: a run folder and texts go in; predictions come out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..data.readers import read_words
from ..errors import ConfigError, DataError, Fault
from ..inference import Predictions, answer, predict
from ..model import MultiTaskModel
from ..tasks import Task
from .interactive import interact
from .loading import load_model
from .stdin import arriving_lines, decode_line

ALL = "all"


def run_predict(options: argparse.Namespace) -> int:
    """`mtl predict`: every input that can be read is answered, and the others are listed."""
    model = load_model(options.folder)
    # `is not None`: an empty question was given too, and gets its own error.
    asked = options.question is not None or options.context is not None
    if asked and (options.question is None or options.context is None):
        raise ConfigError("--question and --context go together", fix="give both")
    if asked and options.text is not None:
        raise ConfigError("give --text, or --question with --context, not both")
    tasks = _tasks_to_predict(model, options.task, asked)
    _check_fits(options, tasks[0], asked)
    guessed = [task.name for task in tasks if task.words_given]
    if guessed and not (options.words or options.data):
        print(
            f"mtl: note: {', '.join(guessed)} learned from a file with words of its own; plain "
            "text is split by our own rule. If you have words, give them with --words",
            file=sys.stderr,
        )
    given: list[Any]
    if options.data:
        given = read_words(options.data)
    elif asked:
        given = [(options.question, options.context)]
    elif options.text is not None:
        given = [_parse_line(options.text, tasks, options)]
    else:
        return _predict_lines(model, tasks, options)
    _print_predictions(model, _predict_inputs(model, tasks, given, options), given, options)
    return 0


def _check_fits(options: argparse.Namespace, task: Task, asked: bool) -> None:
    """Raise ConfigError for options that do not go together, or with how the task reads."""
    reads_pairs = task.reads_pairs
    if reads_pairs and options.text is not None:
        raise ConfigError("a question needs --question and --context, not --text")
    if reads_pairs and (options.words or options.data):
        what = "--words and --data are for tasks that read single texts"
        raise ConfigError(what, found=task.name)
    if options.data and options.text is not None:
        raise ConfigError("give --text, or --data, not both")
    if asked and not reads_pairs:
        raise ConfigError(f"the task {task.name!r} reads a --text, not a question")
    if options.top != 1 and not reads_pairs:
        raise ConfigError("--top goes with a question", found=f"--top {options.top}")


def _predict_lines(
    model: MultiTaskModel, tasks: Sequence[Task], options: argparse.Namespace
) -> int:
    """Answer the lines of standard input as they arrive; 1 if one could not be read."""
    faults: list[Fault] = []
    empty, n_lines = [], 0
    for lines in arriving_lines():  # they are answered together, before the next are waited for
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
                # Kept for the end: a bad line must not hold up the answers to the others.
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
        # The error does not say which inputs it is about; on its own, each can only blame itself.
        for one in inputs:
            yield from _readable(model, tasks, [one], faults, options)


def _predict_inputs(
    model: MultiTaskModel, tasks: Sequence[Task], given: list[Any], options: argparse.Namespace
) -> list[Predictions]:
    """What the tasks predict for texts, lists of words, or pairs of question and context."""
    if not tasks[0].reads_pairs:
        names = [task.name for task in tasks]
        predicted = predict(model, given, names, progress=True, batch_size=options.batch_size)
        assert isinstance(predicted, list)  # for a list was given
        return predicted
    results = [Predictions() for _ in given]
    for task in tasks:
        questions, contexts = map(list, zip(*given, strict=True))
        answers = answer(
            model, questions, contexts, task.name, options.top, batch_size=options.batch_size
        )
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
            # With one task its name is known; with all, it tells the predictions apart.
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
        # JSON can spell half a character, which no file and no tokenizer can hold.
        line.encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"the line is not JSON: {error}", found=repr(line[:80]), fix=form) from None
    keys = ("question", "context")
    pair = tuple(record.get(key) for key in keys) if isinstance(record, dict) else ()
    if len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
        what = "the line does not hold a question and a context"
        raise DataError(what, found=repr(line[:80]), fix=form)
    return pair


def run_interactive(options: argparse.Namespace) -> None:
    """`mtl interactive`."""
    model = load_model(options.folder)
    try:
        interact(model)
    except UnicodeDecodeError:
        fix = "convert it to UTF-8 first"
        raise DataError("the input is not UTF-8", path="stdin", fix=fix) from None
