"""An error goes in; the status and the body that tell a client about it come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.responses import JSONResponse, Response

from ..errors import MOST_PRINTED, Fault, MTLError

LONGEST = 120  # characters of what was found that a client is shown


class RefusedError(MTLError):
    """A request that is not answered, with the HTTP status that says why."""

    def __init__(
        self, status: int, what: str, *, headers: Mapping[str, str] | None = None, **details: Any
    ) -> None:
        super().__init__(what, **details)
        self.status = status
        self.headers = headers


def response_to(error: MTLError, status: int = 422) -> Response:
    """What the client is told; `status` is for errors that do not bring their own."""
    refused = error if isinstance(error, RefusedError) else None
    return JSONResponse(
        {"errors": [_in_words(fault) for fault in error.faults[:MOST_PRINTED]]},
        status_code=refused.status if refused else status,
        headers=refused.headers if refused else None,
    )


def _in_words(fault: Fault) -> dict[str, str | None]:
    found = fault.found
    if found and len(found) > LONGEST:
        found = found[:LONGEST] + "..."
    return {"what": fault.what, "where": fault.path, "found": found, "fix": fault.fix}


# What pydantic finds, in our words: what is wrong, and what to do.
WORDS = {
    "missing": ("this key is missing", "add it to the JSON object"),
    "string_type": ("this is not a text", "give a string in quotes"),
    "list_type": ("this is not a list", "put square brackets around it"),
    "int_type": ("this is not a whole number", "give one, without quotes"),
    "too_short": ("the list is too short", "a pair has two texts"),
    "too_long": ("the list is too long", "a pair has two texts"),
    "greater_than_equal": ("the number is too small", "give 1 or more"),
}
NO_OBJECT = (
    "the body is not a JSON object",
    "send one with the header Content-Type: application/json; /docs has examples",
)


def faults_in_body(errors: Iterable[Mapping[str, Any]]) -> list[Fault]:
    """The errors of pydantic and of the JSON reader as our faults."""
    return [_fault_of(error) for error in errors]


def _fault_of(error: Mapping[str, Any]) -> Fault:
    kind, place = error["type"], error["loc"][1:]  # after "body"
    if kind == "json_invalid":
        where = f"body, character {place[0]}"
        return Fault("the body is not JSON", where, found=error["ctx"]["error"], fix=NO_OBJECT[1])
    if kind == "unknown_key":
        return Fault("unknown key", "body", **error["ctx"])
    if not place:
        return Fault(NO_OBJECT[0], "body", found=_shown(error["input"]), fix=NO_OBJECT[1])
    what, fix = WORDS.get(kind, (error["msg"], "/docs shows what is expected"))
    found = None if kind == "missing" else _shown(error["input"])
    return Fault(what, _place_in_words(place), found=found, fix=fix)


def _place_in_words(place: Iterable[str | int]) -> str:
    """`texts[2]` for `("texts", 2)`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in place]
    return "".join(parts).removeprefix(".")


def _shown(value: Any) -> str:
    """A value as Python writes it; of a long list only the beginning, for `repr` takes it whole."""
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'JSON object'} of {len(value):,}"
    return repr(value[:LONGEST] if isinstance(value, str | bytes) else value)
