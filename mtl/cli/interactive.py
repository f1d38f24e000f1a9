"""What a user types goes in, by a small menu; predictions come out."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import MTLError
from ..inference import Model, predict
from ..tasks import Task

QUIT = "q"


def interact(
    model: Model,
    read: Callable[[str], str] = input,
    write: Callable[[str], object] = print,
) -> None:
    """Ask for a task and what it reads, one or two texts; print the prediction; repeat.

    `q`, Ctrl-D (or the end of a pipe) and Ctrl-C end it. Input that cannot be used is reported, and
    asked for again.

    Args:
        read: what shows a prompt and returns a line; raises `EOFError` where there is none.
        write: what prints.
    """
    choices = _choices(model)
    seconds: dict[str, str] = {}
    write(_menu(model, choices))
    try:
        while True:
            chosen = choices.get(_ask(read, "task: "))
            if chosen is None:
                write(f"there is no such choice\n{_menu(model, choices)}")
                continue
            try:
                task = model.tasks[chosen[0]]
                given = _ask_pair(read, task, seconds) if task.reads_pairs else _ask(read, "text: ")
                write(f"\n{predict(model, given, chosen)}\n")
            # A mistyped text should not cost the user another wait for the model to load.
            except MTLError as error:
                write(f"error: {error}")
    except (EOFError, KeyboardInterrupt):
        write("")


def _choices(model: Model) -> dict[str, list[str]]:
    """Which tasks each input chooses."""
    choices = {str(number): [name] for number, name in enumerate(model.tasks, 1)}
    texts = [name for name, task in model.tasks.items() if not task.reads_pairs]
    if len(texts) > 1:
        choices["all"] = texts
    return choices


def _menu(model: Model, choices: dict[str, list[str]]) -> str:
    lines = []
    for choice, names in choices.items():
        tasks = [model.tasks[name] for name in names]
        what = tasks[0].answers_with if len(tasks) == 1 else "every task that reads a text"
        lines.append(f"  {choice:>3}  {', '.join(names)}: {what}")
    return "\n".join(["choose a task:", *lines, f"  {QUIT:>3}  quit"])


def _ask_pair(read: Callable[[str], str], task: Task, seconds: dict[str, str]) -> tuple[str, str]:
    """Both texts, asked for by the task's names for them.

    `seconds` keeps the latest second text under each name, so that nobody has to paste a long
    context for every question.
    """
    first_name, second_name = task.text_names
    first = _ask(read, f"{first_name}: ")
    again = " (Enter: same as before)" if second_name in seconds else ""
    second = _ask(read, f"{second_name}{again}: ") or seconds.get(second_name, "")
    if second:
        seconds[second_name] = second
    return first, second


def _ask(read: Callable[[str], str], prompt: str) -> str:
    """The line that is typed; EOFError for `q`, as at the end of the input."""
    line = read(prompt).strip()
    if line == QUIT:
        raise EOFError
    return line
