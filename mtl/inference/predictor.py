"""What a model is made of goes in; the methods that every model has come out."""

from __future__ import annotations

from ..errors import ConfigError, suggest
from ..tasks.base import Task
from . import evaluation, prediction


class Predictor:
    """What to do with a trained model: the functions of `mtl.inference`, as its methods.

    A class that has it offers what `mtl.inference.loop.Model` names, and may compute the outputs of
    the heads in any way.
    """

    tasks: dict[str, Task]

    predict = prediction.predict
    answer = prediction.answer
    encode = prediction.encode
    nearest = prediction.nearest
    evaluate = evaluation.evaluate

    def task(self, name: str) -> Task:
        """The task with this name, or the only one of this kind.

        Raises:
            ConfigError: there is none, or several of the kind; the known names are listed.
        """
        if not isinstance(name, str):
            raise ConfigError(
                "ask for a task by its name",
                found=repr(name)[:80],
                fix=f"use one of {', '.join(self.tasks)}",
            )
        if name in self.tasks:
            return self.tasks[name]
        of_kind = [task for task in self.tasks.values() if task.kind == name]
        # A kind is enough where it cannot be mistaken: "qa" for a task called "questions".
        if len(of_kind) == 1:
            return of_kind[0]
        raise ConfigError(
            "the model has no such task" if not of_kind else "several tasks are of this kind",
            found=repr(name),
            fix=suggest(name, self.tasks),
        )
