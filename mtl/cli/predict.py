"""`mtl predict` and `mtl interactive`: a run folder and texts go in; predictions come out."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..data.readers import read_words
from ..data.readers.raw_records import refuse_object
from ..data.readers.source import decode_line
from ..errors import ConfigError, DataError, Fault
from ..inference import (
    Model,
    Predictions,
    keep_best_answers,
    pair_of,
    predict,
    words_in,
)
from ..tasks import Task
from .bulk import predict_into
from .choosing import ALL, check_top, note_own_words, options_of, tasks_to_predict
from .interactive import interact
from .loading import load_model
from .stdin import arriving_lines


def run_predict(options: argparse.Namespace) -> int:
    """`mtl predict`: every input that can be read is answered, and the others are listed."""
    if options.output or options.input not in (None, "-"):
        return predict_into(options)
    if options.fields:
        raise ConfigError("--fields goes with --input and --output")
    model = load_model(options.folder)
    pair = _pair_given(options)
    if options.data and (options.text is not None or pair):
        raise ConfigError("give --text, or --data, not both")
    # Lines that are still to come will each show which they are.
    pairs = bool(pair) if pair or options.data or options.text is not None else None
    tasks = tasks_to_predict(model, options.task, pairs)
    _check_fits(options, tasks)
    if not (options.words or options.data):
        note_own_words(tasks)
    given: list[Any]
    if options.data:
        given = read_words(options.data)
    elif pair:
        given = [pair]
    elif options.text is not None:
        given = [_parse_text(options.text, options)]
    else:
        return _predict_lines(model, tasks, options)
    _print_predictions(model, _predict_inputs(model, tasks, given, options), given, options)
    return 0


def _pair_given(options: argparse.Namespace) -> tuple[str, str] | None:
    """The two texts, if two are given."""
    # `is not None`: an empty question was given too, and gets its own error.
    asked = options.question is not None or options.context is not None
    if asked and (options.question is None or options.context is None):
        raise ConfigError("--question and --context go together", fix="give both")
    if asked and (options.text is not None or options.text_pair is not None):
        raise ConfigError("give --text, or --question with --context, not both")
    if options.text_pair is not None and options.text is None:
        raise ConfigError("--text-pair goes with --text", fix="give both")
    if asked:
        return options.question, options.context
    return None if options.text_pair is None else (options.text, options.text_pair)


def _check_fits(options: argparse.Namespace, tasks: Sequence[Task]) -> None:
    """Raise ConfigError for options that do not fit what the tasks read."""
    read_pairs = [task for task in tasks if task.reads_pairs]
    if len(read_pairs) == len(tasks) and (options.words or options.data):
        what = "--words and --data are for tasks that read single texts"
        raise ConfigError(what, found=tasks[0].name)
    check_top(tasks, options.top)


def _predict_lines(model: Model, tasks: Sequence[Task], options: argparse.Namespace) -> int:
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
        wanted = " or ".join(dict.fromkeys(map(options_of, tasks)))
        raise DataError("there is no input", path="stdin", fix=f"give {wanted}, or lines of input")
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
    model: Model,
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
        # The error does not say which inputs it is about; alone, each can only blame itself.
        for one in inputs:
            yield from _readable(model, tasks, [one], faults, options)


def _predict_inputs(
    model: Model, tasks: Sequence[Task], given: list[Any], options: argparse.Namespace
) -> list[Predictions]:
    """What the tasks predict for texts, lists of words, and pairs of texts."""
    # Where no task is named, each input goes to all tasks that read it.
    names = None if options.task in (None, ALL) else [task.name for task in tasks]
    results = predict(model, given, names, progress=True, batch_size=options.batch_size)
    assert isinstance(results, list)  # for a list was given
    for predictions in results:
        keep_best_answers(model, predictions, options.top)
    return results


def _print_predictions(
    model: Model,
    results: Iterable[Predictions],
    inputs: Iterable[str | list[str] | tuple[str, str]],
    options: argparse.Namespace,
) -> None:
    """Task, input and prediction; or one JSON object per line, by task name for `--task all`."""
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
    """A text, words with blanks between them, or the texts of a pair, the second cut short."""
    if isinstance(given, tuple):
        return f"{given[0]} | {textwrap.shorten(given[1], 80, placeholder=' ...')}"
    return given if isinstance(given, str) else " ".join(given)


def _parse_line(line: str, tasks: Sequence[Task], options: argparse.Namespace) -> Any:
    """The text, list of words, or pair that a line of input holds."""
    names = [task.text_names for task in tasks if task.reads_pairs]
    # Where some task reads single texts, only a brace tells a pair from a text.
    if len(names) < len(tasks) and not line.lstrip().startswith("{"):
        return _parse_text(line, options)
    if not names:
        refuse_object(line)
        return _parse_text(line, options)
    return pair_of(_record_of(line, names[0]), names)


def _record_of(line: str, names: tuple[str, str]) -> dict[str, Any]:
    """The JSON object of a line; DataError if it holds none."""
    form = f'write {{"{names[0]}": "...", "{names[1]}": "..."}} on one line'
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the line is not JSON: {error}", found=repr(line[:80]), fix=form) from None
    if not isinstance(record, dict):
        raise DataError("the line is not a JSON object", found=repr(line[:80]), fix=form)
    return record


def _parse_text(line: str, options: argparse.Namespace) -> str | list[str]:
    """A line unchanged; with --words, the words that it holds."""
    return words_in(line) if options.words else line


def run_interactive(options: argparse.Namespace) -> None:
    """`mtl interactive`."""
    model = load_model(options.folder)
    try:
        interact(model)
    except UnicodeDecodeError:
        fix = "convert it to UTF-8 first"
        raise DataError("the input is not UTF-8", path="stdin", fix=fix) from None
