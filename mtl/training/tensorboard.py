"""A training run comes in, round by round and epoch by epoch; curves for TensorBoard go out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..errors import ConfigError, missing_extra
from .history import History

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes losses, learning rate and scores into a folder while a model trains::

        with TensorBoard("board") as board:
            mtl.train(model, on_round=board.on_round, on_epoch=board.on_epoch)

    `tensorboard --logdir board` draws them. A resumed run continues the curves in the
    folder; a new one replaces them.

    Args:
        folder: made if it is not there.

    Raises:
        ConfigError: TensorBoard is not installed, or the folder cannot be made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._writer: SummaryWriter | None = None
        try:
            # Fails before training, not in its first round.
            import torch.utils.tensorboard  # noqa: F401
        except ImportError:
            raise missing_extra("tensorboard", "tensorboard", "TensorBoard") from None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                "the folder for TensorBoard cannot be made",
                path=self.folder,
                found=error.strerror,
                fix="give another one (--tensorboard DIR)",
            ) from None

    def on_round(self, history: History) -> None:
        """Write the losses, weights, learning rate and gradient norm of the last round."""
        last = history.rounds[-1]
        values = {"learning_rate": last.learning_rate, "grad_norm": last.grad_norm}
        values |= {"loss/total": last.total}
        values |= {f"loss/{task}": loss for task, loss in last.losses.items()}
        values |= {f"weight/{task}": weight for task, weight in last.weights.items()}
        self._write(values, last.step)

    def on_epoch(self, history: History) -> None:
        """Write the validation scores of the last epoch."""
        scores = history.validation[-1].items()
        values = {f"validation/{t}/{name}": x for t, of_t in scores for name, x in of_t.items()}
        self._write(values, history.rounds[-1].step)
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        """Write what is still buffered."""
        if self._writer:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, values: dict[str, float], step: int) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step: what a stopped run wrote after its last saved state is written again.
            self._writer = SummaryWriter(str(self.folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
