"""How the commands say times, spans, money and states, and how they read times."""

import re
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400

COLOURS = {
    "running": "cyan",
    "answered": "yellow",
    "published": "green",
    "completed": "green",
    "failed": "red",
    "rejected": "magenta",
    "cancelled": "blue",
}

_WHEN = "30m, 2h, 3d, or a time such as 2026-11-24T20:00 (UTC unless it has an offset)"

Since = Annotated[str | None, typer.Option(help=f"Not older than: {_WHEN}.")]
Before = Annotated[str | None, typer.Option(help=f"Older than: {_WHEN}.")]


def instant(seconds: float | None) -> str:
    """A time in epoch seconds, in UTC: 2026-11-24 20:34:18Z."""
    if not seconds:
        return "-"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"


def iso(seconds: float | None) -> str | None:
    """The same for scripts, to the millisecond."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def span(seconds: float) -> str:
    """A length of time in its two largest units: 45 s, 3 m 20 s, 2 h 5 m, 3 d 4 h."""
    whole = max(round(seconds), 0)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // 60} m {whole % 60} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // 60} m"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def ago(then: float | None, now: float) -> str:
    return f"{span(now - then)} ago" if then else "-"


def dollars(amount: float) -> str:
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"


def size(number: int) -> str:
    """Bytes in a unit that fits."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:  # noqa: PLR2004 - the next unit
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def shortened(text: str, width: int) -> str:
    """No longer than `width`: beginning and end stay, which tell ids apart."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def state_text(state: str) -> Text:
    return Text(state, style=COLOURS.get(state, ""))


def read_time(option: str, text: str | None) -> float | None:
    """The value of Since or Before, as epoch seconds."""
    if text is None:
        return None
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip()):
        return time.time() - float(found[1]) * _UNITS[found[2]]
    try:
        given = datetime.fromisoformat(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is no time; use {_WHEN}", param_hint=option) from exc
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
