"""Directives: what a test may write into a message to make the model's service misbehave."""

import re
from dataclasses import dataclass
from enum import StrEnum

_DIRECTIVE = re.compile(
    r"\[\[(?P<name>after|delay|disconnect|hang|long|slow|stall|status)"
    r"(?: (?P<number>\d{1,9}(?:\.\d{1,6})?))?(?: times (?P<times>\d{1,6}))?\]\]"
)
_LONGEST_ANSWER = 20_000_000
_LONGEST_PAUSE_SECONDS = 3600.0


class FaultKind(StrEnum):
    """How a request goes wrong."""

    STATUS = "status"  # an HTTP error
    HANG = "hang"  # never a first byte
    STALL = "stall"  # a beginning, then silence
    DISCONNECT = "disconnect"  # a beginning, then the connection closes


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the first `times` requests that carry it, or of all of them (None)."""

    kind: FaultKind
    status: int = 0
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Directives:
    """`delay` and `slow` are seconds; `long` is in characters; `after` counts tool results."""

    faults: tuple[Fault, ...] = ()
    delay: float = 0.0
    slow: float = 0.0
    long: int = 0
    after: int = 0


def parse_directives(text: str) -> Directives:
    """Read the directives in `text`; what only looks like one is text."""
    faults: list[Fault] = []
    numbers: dict[str, float] = {}
    for found in _DIRECTIVE.finditer(text):
        name, number = found["name"], float(found["number"] or 0)
        times = None if found["times"] is None else int(found["times"])
        if name == FaultKind.STATUS:
            faults.append(Fault(FaultKind.STATUS, _error_status(number), times))
        elif name in set(FaultKind):
            faults.append(Fault(FaultKind(name), times=times))
        else:
            numbers[name] = number
    return Directives(
        faults=tuple(faults),
        delay=min(numbers.get("delay", 0.0), _LONGEST_PAUSE_SECONDS),
        slow=min(numbers.get("slow", 0.0), _LONGEST_PAUSE_SECONDS),
        long=min(int(numbers.get("long", 0)), _LONGEST_ANSWER),
        after=int(numbers.get("after", 0)),
    )


def without_directives(text: str) -> str:
    return _DIRECTIVE.sub("", text).strip()


def _error_status(number: float) -> int:
    """An HTTP error status; anything else counts as 500."""
    return int(number) if 400 <= number <= 599 else 500  # noqa: PLR2004 - the range of HTTP errors
