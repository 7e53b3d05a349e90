"""What an examination finds."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem", "unchecked"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer. `area` is what was looked at ("job queue"), `check` a name that stays the same
    ("visibility_timeout"), `remedy` what to do about it.

    A "problem" keeps the worker from working, or from keeping its guarantees; a "warning" does not
    yet; "unchecked" could not be found out.
    """

    area: str
    check: str
    level: Level
    text: str
    remedy: str = ""


def ok(area: str, check: str, text: str) -> Finding:
    return Finding(area, check, "ok", text)


def warning(area: str, check: str, text: str, remedy: str) -> Finding:
    return Finding(area, check, "warning", text, remedy)


def problem(area: str, check: str, text: str, remedy: str) -> Finding:
    return Finding(area, check, "problem", text, remedy)


def unchecked(area: str, check: str, text: str, remedy: str = "") -> Finding:
    return Finding(area, check, "unchecked", text, remedy)
