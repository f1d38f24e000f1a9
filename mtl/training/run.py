"""Model, tasks and settings come in; a run that can stop and resume between steps goes out."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from ..devices import (
    choose_precision,
    choose_threads,
    describe_device,
    is_out_of_memory,
    random_state,
    set_random_state,
)
from ..errors import MTLError
from ..metrics import mean
from ..model import MultiTaskModel
from ..tasks import Task
from .aggregation import Aggregation
from .best import Best
from .config import TrainConfig
from .conflict import gradient_conflict
from .faults import out_of_memory
from .history import Conflict, History, Metrics, OpenRound, StepRecord
from .preflight import (
    EncodedDataset,
    check,
    encode_datasets,
    of_tasks,
    warn_of_idle_weighting,
    warn_of_spoiled_heads,
)
from .ranks import check_same, check_same_weights, copy_first, from_first, rank, world
from .sampling import Step
from .state import check_identity, identity_of
from .step import Update
from .streams import Streams
from .weighting import Weighting


class Run:
    """A training run between two steps, ready to make the next one.

    Attributes:
        streams: which batches come next.
        update: what a step does with them.
        best: the weights that did best on validation.
        history: of all finished rounds.
        open_round: the one whose steps are being made.
        epoch: how many epochs are finished and validated.
        reached_in: the epoch whose score on validation reached `stop_at`; 0 until then.
        id: tells its state from that of other runs in the same folder.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Sequence[Task],
        config: TrainConfig,
        weighting: Weighting | None = None,
        data: Sequence[EncodedDataset] | None = None,
        aggregation: Aggregation | None = None,
    ) -> None:
        self.model = model
        self.tasks = list(tasks)
        self.config = config
        weighting = weighting or config.build_weighting()
        aggregation = aggregation or config.build_aggregation()
        # Before the seed is set or anything moves: a rejected run leaves the process as it was.
        check(model, self.tasks, config, weighting, aggregation)
        names = [task.name for task in self.tasks]
        # Before the optimiser is built, which needs the parameters that this creates.
        weighting.start(names)
        warn_of_spoiled_heads(model, self.tasks)
        warn_of_idle_weighting(weighting, config.epochs)
        torch.manual_seed(config.seed)  # dropout draws from the global generator
        dtype = choose_precision(config.precision, model.device)
        if data is None:
            data = encode_datasets(model, self.tasks)
        # A stage may train only some of the tasks; the rows of the others are set aside.
        self.data = of_tasks(data, self.tasks)
        self.streams = Streams(self.data, model, config, dtype)
        n_steps = self.streams.n_steps
        self.update = Update(model, names, config, weighting, aggregation, dtype, n_steps)
        self.best = Best(config.patience)
        self.history = History(threads=self._choose_threads())
        self.open_round = OpenRound()
        self.epoch = 0
        self.reached_in = 0
        self.id = secrets.token_hex(6)
        if world() > 1:
            check_same(self.identity)
            copy_first(model.state_dict().values())

    def _choose_threads(self) -> int:
        """How many CPU threads to use; 0 on another device."""
        if self.model.device.type != "cpu":
            return 0
        # By sizes alone and never by a clock, so that a run can be repeated elsewhere.
        multiply_adds = self.streams.usual_tokens() * self.model.encoder.config.multiply_adds
        return choose_threads(multiply_adds, self.config.threads)

    def describe(self) -> str:
        """Where the run computes, what an epoch is, and whether it may end early."""
        config = self.config
        end = f"; it ends early if validation reaches {config.stop_at:g}" if config.stop_at else ""
        return f"{self._where()}; {self.streams.describe_epoch()}{end}"

    def _where(self) -> str:
        where = describe_device(self.model.device, self.update.dtype, self.history.threads)
        return where if world() == 1 else f"{world()} processes, each on {where}"

    # --- progress ---------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """Updates made so far."""
        return self.update.step

    @property
    def last_epoch(self) -> int:
        """The epoch that training ends with, as far as is known now."""
        if not self.reached_in:
            return self.config.epochs
        return min(self.reached_in + self._epochs_of_fall, self.config.epochs)

    @property
    def n_rounds(self) -> int:
        """Rounds in the whole run, as far as is known now."""
        return self.last_epoch * self.streams.rounds_per_epoch

    @property
    def _epochs_of_fall(self) -> int:
        """Over how many epochs the learning rate falls if it falls early."""
        rounds = round(self.config.decay_ratio * self.streams.n_rounds)
        # Whole epochs: what is learned after the last validation would be lost.
        return math.ceil(rounds / self.streams.rounds_per_epoch)

    @property
    def round_ended(self) -> bool:
        """Whether no step of the current round is left."""
        return not self.streams.pending

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step ended an epoch that is still to be validated."""
        rounds = (self.epoch + 1) * self.streams.rounds_per_epoch
        return self.round_ended and len(self.history.rounds) == rounds

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or the last ones brought no improvement (early stopping)."""
        return self.epoch == self.last_epoch or self.best.gives_up(self.epoch)

    @property
    def works_ahead(self) -> bool:
        """Whether the next batches are made in the middle of a step."""
        # While a GPU works on this one. A CPU would do the same work, only earlier.
        return self.model.device.type != "cpu"

    # --- steps ------------------------------------------------------------------------------------

    def next_step(self) -> dict[str, float]:
        """Make one update, from the losses of one or more batches.

        Returns:
            the mean loss of each task so far in the round.
        """
        if self.round_ended:
            # Between two rounds, so that every task has had its steps.
            conflict = self.measure_conflict() if self._is_time_to_measure() else {}
            self.open_round = OpenRound(conflict)
            self.streams.start_round(len(self.history.rounds))
        # Validation, or measuring conflict, has left it in evaluation mode; and `load_pretrained`
        # leaves the encoder alone in it.
        if not (self.model.training and self.model.encoder.training):
            self.model.train()
        step = self.streams.pending.pop(0)
        self.open_round.records.append(self._train_on(step))
        if self.round_ended:
            before = self.history.examples or {task.name: 0 for task in self.tasks}
            self.history.rounds.append(self.open_round.close(self.epoch + 1, self.step, before))
        return self.open_round.losses()

    def round(self) -> dict[str, float]:
        """Make all remaining steps of a round, or those of a new one: a batch of every dataset.

        Returns:
            the loss of each task.
        """
        losses = self.next_step()
        while not self.round_ended:
            losses = self.next_step()
        return losses

    def _train_on(self, step: Step) -> StepRecord:
        if world() > 1:
            # Each process has its own dropout. Seeded in every step, it need not be saved.
            torch.manual_seed(hash((self.config.seed, self.step, rank())))
        try:
            batches = self.streams.batches(step)
            next_of_these = step if self.works_ahead else ()
            return self.update(step, batches, lambda: self.streams.make_ahead(next_of_these))
        except (RuntimeError, MemoryError) as error:
            # Seldom a bug: the settings ask for too much memory, and the error says which.
            if is_out_of_memory(error):
                raise self._out_of_memory(step) from error
            raise

    def _out_of_memory(self, step: Step) -> MTLError:
        longest = self.model.encoder.config.max_length
        return out_of_memory(self.streams.task_names(step), self.config, longest, self._where())

    def measure_conflict(self) -> dict[str, Conflict]:
        """How the tasks' gradients compare now, on the batches that come next.

        Without dropout; the streams stay where they are, so that training continues unchanged.
        """
        # Dropout would draw from the global generator and so change training.
        self.model.eval()
        parts = self.streams.coming_batches()
        _, n_labels = self.update.count([batch for of_dataset in parts for batch in of_dataset])
        losses = self.update.losses(parts, n_labels)
        return gradient_conflict(self.model, losses, self.update.loss_scale)

    def _is_time_to_measure(self) -> bool:
        """At the start, and in the first round after each multiple of `conflict_every` steps."""
        every, rounds = self.config.conflict_every, self.history.rounds
        if not every or len(self.tasks) < 2:
            return False
        if not rounds:
            return True
        before = rounds[-2].step if len(rounds) > 1 else 0
        # By division, since a round of several steps may jump over the multiple.
        return self.step // every > before // every

    # --- the end of an epoch, and of training -----------------------------------------------------

    def finish_epoch(self) -> Metrics:
        """Validate; keep the weights if they are the best so far.

        If a task raises while being scored, the run stays as it was: at the end of an epoch that is
        still to be validated.
        """
        # First whatever may fail; only then does anything change.
        check_same_weights(self.model)
        # One process's scores, so that all decide the same, whatever a task's `score` draws.
        scores = from_first(self.validate())
        joint_score = self.joint_score(scores) if scores else None
        self.epoch += 1
        self.update.weighting.end_epoch()
        self.history.validation.append(scores)
        if joint_score is not None:
            self.best.see(self.epoch, joint_score, self.model, is_settling=self.reached_in > 0)
            self.history.best_epoch = self.best.epoch
            if 0 < self.config.stop_at <= joint_score and not self.reached_in:
                self._begin_to_end()
        return scores

    def _begin_to_end(self) -> None:
        """Let the learning rate start to fall; `last_epoch` is the one in which it reaches 0."""
        self.reached_in = self.epoch
        if self.last_epoch < self.config.epochs:  # else it is falling already, or about to
            self.update.fall_now(self._epochs_of_fall * self.streams.steps_per_epoch)

    def validate(self) -> Metrics:
        """Scores on validation; tasks that share a dataset share the encoder's passes.

        In the precision of the weights, as in testing and in use. Thresholds are chosen here.
        """
        scores: Metrics = {}
        for data in self.data:
            scores |= data.validate(self.model)
        # In the order of the tasks, whichever datasets they share.
        return {task.name: scores[task.name] for task in self.tasks if task.name in scores}

    def joint_score(self, scores: Metrics) -> float:
        """The mean of the tasks' main metrics: what "best" means."""
        return mean([t.main_score(scores[t.name])[1] for t in self.tasks if t.name in scores])

    def restore_best(self) -> None:
        """Put the best weights back; without validation data the last ones stay."""
        self.best.restore(self.model)
        self.model.trained |= {task.name for task in self.tasks}
        self.model.eval()

    # --- stopped and resumed ----------------------------------------------------------------------

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to continue from the state of another."""
        return identity_of(self.model, self.tasks, self.config)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run continues."""
        return {
            # Cached: the data is hashed once, not each time the state is saved.
            "identity": self.identity,
            "epoch": self.epoch,
            "reached_in": self.reached_in,
            "model": self.model.state_dict(),
            "streams": self.streams.state_dict(),
            "update": self.update.state_dict(),
            "best": self.best.state_dict(),
            # Its rounds apart: there are more and more of them, and `save_state` appends them.
            "history": replace(self.history, rounds=[]).to_dict(),
            "rounds": self.history.rounds,
            "id": self.id,
            "open_round": self.open_round.to_dict(),
            "random_state": random_state(self.model.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the run that gave `state` was.

        Raises:
            ConfigError: that run had other settings or other data.
        """
        # Before anything is loaded: half a state of another run would be worse than none.
        check_identity(self.identity, state["identity"])
        self.epoch, self.reached_in = state["epoch"], state["reached_in"]
        self.model.load_state_dict(state["model"])
        self.streams.load_state_dict(state["streams"])
        self.update.load_state_dict(state["update"])
        self.best.load_state_dict(state["best"])
        self.history = History.from_dict(state["history"] | {"rounds": state["rounds"]})
        self.id = state["id"]
        self.open_round = OpenRound.from_dict(state["open_round"])
        # Last, so that nothing draws random numbers between here and the next step.
        set_random_state(state["random_state"], self.model.device)
