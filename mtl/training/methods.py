"""A name and options come in; a weighting or an aggregation goes out: what both share."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ..errors import ConfigError, suggest
from ..registry import Named, find_class


class Method(Named, nn.Module):
    """Base of weightings and aggregations: found by name, and saved with what they remember.

    A subclass that sets `name` is registered under it, so that recipes find it. One without
    a name is known by its place, `mymodule:MyWeighting`.
    """

    name: ClassVar[str]
    name_in: ClassVar[str] = "name"
    needs_joint_steps: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """Its name in errors."""
        return type(self).__name__


M = TypeVar("M", bound=Method)


class Drawing(Method):
    """A method that draws from its own generator, whose state is saved with it."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def get_extra_state(self) -> Tensor:
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self.generator.set_state(state)


def scaled_gradients(
    loss: Tensor, parameters: Sequence[Tensor], scale: Tensor | float
) -> list[Tensor | None]:
    """The gradients of a loss for some parameters; None for one that it does not depend on.

    In float16, small gradients become 0 on their way back through a model. So the loss is first
    multiplied by `scale`, and the gradients, which are float32, are divided by it at the end
    (Micikevicius et al. 2018, section 3.2). The graph is kept, and no `.grad` is touched.
    """
    # `grad` instead of `backward`: the gradients that the step is about to follow stay clean.
    gradients = torch.autograd.grad(loss * scale, parameters, retain_graph=True, allow_unused=True)
    return [None if gradient is None else gradient / scale for gradient in gradients]


def check_is_method(method: Any, base: type[Method]) -> None:
    """Raise ConfigError if something else is given in place of a weighting or an aggregation."""
    if not isinstance(method, base):
        kind = base.__name__
        raise ConfigError(
            f"this is not an mtl.{kind}",
            found=repr(method),
            fix=f"give an object of a subclass of mtl.{kind}; a name goes into "
            f"TrainConfig({kind.lower()}=...)",
        )


def check_result(method: Method, result: Any, shape: tuple[int, ...], what: str) -> None:
    """Raise ConfigError if a method returned anything but a tensor of this shape."""
    if not isinstance(result, Tensor) or result.shape != shape:
        raise ConfigError(
            f"{method.title} must return {what}",
            found=show_result(result),
            fix="check what its forward returns",
        )


def show_result(result: Any) -> str:
    """What a method returned, for errors; the shape of a tensor says more than its numbers."""
    is_tensor = isinstance(result, Tensor)
    return f"a tensor of shape {tuple(result.shape)}" if is_tensor else repr(result)


def build_method(base: type[M], name: str, options: Mapping[str, Any], seed: int, where: str) -> M:
    """A weighting or an aggregation by its name.

    Args:
        base: `Weighting` or `Aggregation`.
        options: those of its class.
        seed: for one that draws at random.
        where: the key that names it, for errors.

    Raises:
        ConfigError: an unknown name or option (with the nearest known one), or a bad value.
    """
    cls = find_class(base, name, where)
    # A class without options has the signature of `nn.Module`: `*args, **kwargs`, no options.
    parameters = inspect.signature(cls).parameters.values()
    known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for option in options:
        if option not in known:
            what = f"{where}_options.{option} is not an option of {name}"
            fix = suggest(option, known) if known else f"leave it out: {name} has no options"
            raise ConfigError(what, fix=fix)
    # The run's seed, unless the options give their own (they come last).
    own = {"seed": seed} if "seed" in known else {}
    # A class checks the values of its options; a value of the wrong type may fail anywhere in it.
    try:
        return cls(**own | dict(options))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ConfigError(
            f"the options of {name} are of the wrong type", found=str(error), fix=f"{where}_options"
        ) from None
