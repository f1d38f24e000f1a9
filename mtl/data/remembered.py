"""A question about all examples goes in; its answer comes out, from disk if it was asked before.

What a task learns from, the words of a vocabulary, which examples are held out: each takes a walk
over all examples, and of examples on disk that may take minutes. So the answer is kept beside
them, under a name that is a hash of the question, the examples and the code of this package. Of
examples in memory nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DataError
from ..files import write_atomically
from ..version import __version__
from .stored import StoredExamples

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")
ANSWERS = "answers"  # the folder for them, beside stored examples


def remembered(splits: Sequence[Sequence[Any]], question: str, answer: Callable[[], T]) -> T:
    """What `answer` gives, a value of JSON; of stored examples it is only called the first time.

    Args:
        splits: all examples that decide the answer.
        question: all else that decides it, besides the code of this package. Code of a user's own,
            which no hash covers, must have no say in it.
    """
    place = _place(splits, question)
    if place is None:
        return answer()
    with suppress(OSError, ValueError):  # not asked before, or on a broken disk
        return json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
    content = json.dumps(answer())
    with suppress(DataError):  # a full disk costs only time
        write_atomically(place.with_suffix(".json"), content)
    # Through JSON the first time too: a tuple should not become a list with the second start.
    return json.loads(content)


def numbers_where(
    examples: StoredExamples, question: str | None, is_wanted: Callable[[Any], bool]
) -> NDArray[Any]:
    """The numbers of the stored examples that are wanted; see `remembered`.

    Args:
        question: None where a user's own code decides, so that nothing can be remembered.
    """
    import numpy as np

    def answer() -> NDArray[Any]:
        # Whole numbers without Python objects, of which there would be one per example.
        wanted = (number for number, example in enumerate(examples) if is_wanted(example))
        return np.fromiter(wanted, dtype=np.int64)

    return answer() if question is None else remembered_numbers(examples, question, answer)


def remembered_numbers(
    examples: StoredExamples, question: str, answer: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """As `remembered`, for an answer of whole numbers, which are then mapped from disk."""
    import numpy as np

    place = _place([examples], question)
    path = place.with_suffix(".npy") if place else Path()
    with suppress(OSError, ValueError):
        return np.load(path, mmap_mode="r", allow_pickle=False)
    numbers = answer()
    with suppress(DataError):
        write_atomically(path, _npy(numbers))
    return numbers


def _npy(numbers: NDArray[Any]) -> bytes:
    import io

    import numpy as np

    content = io.BytesIO()
    np.save(content, numbers, allow_pickle=False)
    return content.getvalue()


def _place(splits: Sequence[Sequence[Any]], question: str) -> Path | None:
    """Where the answer is kept, without its ending; None if it is not."""
    filled = [split for split in splits if len(split)]
    stored = [split for split in filled if isinstance(split, StoredExamples)]
    # Few others, such as a small test file, may be among them: if they are of our own classes.
    if not stored or not all(map(is_ours, filled)):
        return None
    parts = [__version__, own_code(), question, *map(examples_hash, splits)]
    name = sha256("\n".join(parts).encode()).hexdigest()[:32]
    return stored[0].folder / ANSWERS / name


def is_ours(examples: Sequence[Any]) -> bool:
    """Whether all are of this package's classes, so that a hash of them means something."""
    ours = __name__.split(".")[0]
    return isinstance(examples, StoredExamples) or all(
        type(example).__module__.split(".")[0] == ours for example in examples
    )


def examples_hash(examples: Iterable[Any]) -> str:
    """A hash of some examples in their order."""
    if isinstance(examples, StoredExamples):
        return examples.hash
    digest = sha256()
    for example in examples:
        # The repr of a dataclass names all its fields, so nothing that shapes a row is missed.
        digest.update(f"\n{example!r}".encode())
    return digest.hexdigest()


@cache
def own_code() -> str:
    """A hash of the files that make examples, rows and targets.

    In a checkout that someone works on, they change while the version stays.
    """
    digest = sha256()
    for folder in (Path(__file__).parent, Path(__file__).parents[1] / "tasks"):
        # Sorted, since file systems list files in any order, and the hash would differ.
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
