"""`mtl predict --input FILE --output FILE`: a file goes in, one with predictions comes out."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from ..data.readers.raw_records import RecordFile
from ..errors import ConfigError
from ..files import EXPORTED
from ..inference import Job, check_paths, predict_file
from ..model_folder import CONFIG, TOKENIZERS, WEIGHTS
from .choosing import ALL, check_top, note_own_words, tasks_to_predict
from .loading import load_model


def predict_into(options: argparse.Namespace) -> int:
    """Predict for every record of --input, and write them into --output."""
    _check_options(options)
    source, output = Path(options.input), Path(options.output)
    check_paths(source, output)  # before the model is loaded, which takes a while
    model = load_model(options.folder)
    pairs = len(options.fields) == 2 if options.fields else None
    if RecordFile(source).is_text:
        pairs = False
    tasks = tasks_to_predict(model, options.task or ALL, pairs)
    check_top(tasks, options.top)
    if not options.words:
        note_own_words(tasks)
    job = Job(
        source,
        output,
        fingerprint(options.folder),
        tuple(task.name for task in tasks),
        tuple(options.fields),
        options.words,
        options.top,
        options.batch_size,
        options.on_error,
    )
    predict_file(model, job, progress=True)
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """Raise ConfigError for options that do not go with files."""
    if not options.output or options.input in (None, "-"):
        if options.input == "-":
            raise ConfigError(
                "--output goes with a file as --input, not with standard input",
                fix="name the file, or leave --output out and redirect standard output",
            )
        raise ConfigError(
            "--input FILE and --output FILE go together",
            fix="give both, two files; or neither, for standard input and output",
        )
    for name in ("text", "text_pair", "question", "context", "data", "json"):
        if getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} does not go with --input and --output")
    if len(options.fields) > 2:
        found = ", ".join(options.fields)
        raise ConfigError("--fields takes one name, or the two of a pair", found=found)


def fingerprint(folder: str) -> str:
    """A hash of all that decides what the model of a folder says; of a model elsewhere its name."""
    names = [CONFIG, WEIGHTS, EXPORTED, *(cls.file_name for cls in TOKENIZERS.values())]
    paths = [path for name in names if (path := Path(folder) / name).is_file()]
    if not paths:
        return folder
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
