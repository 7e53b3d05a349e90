"""A conversation as people read it in a terminal, and as scripts do."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from worker.domain.dialogue import Remark, Turn

LINES = 8
"""Lines of a tool's input or result that are shown, unless all are asked for."""

WIDTH = 300
"""Characters of each such line."""


def print_turns(console: Console, turns: Sequence[Turn], *, full: bool) -> None:
    """Each turn under a rule: the user's words, then what the agent said and did."""
    for turn in turns:
        at = f" {turn.at[:19].replace('T', ' ')}Z" if turn.at else ""
        title = Text.assemble((f"turn {turn.number}", "bold"), at)
        console.print(Rule(title, align="left", style="dim"))
        console.print(Text(turn.prompt, style="bold cyan"))
        console.print()
        for remark in turn.remarks:
            for line in _lines(remark, full=full):
                console.print(line, highlight=False)
        console.print()


def turns_json(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The same for scripts; what does not apply to a remark is left out."""
    return [
        {
            "turn": turn.number,
            "at": turn.at,
            "prompt": turn.prompt,
            "remarks": [
                {name: value for name, value in asdict(remark).items() if value not in (None, "")}
                for remark in turn.remarks
            ],
        }
        for turn in turns
    ]


def _lines(remark: Remark, *, full: bool) -> Iterator[Text | Padding]:
    match remark.kind:
        case "text":
            yield Text(remark.text)
        case "thinking":
            yield Padding(Text(_shown(remark.text, full=full), style="italic dim"), (0, 0, 0, 2))
        case "call":
            yield Text.assemble("  ▸ ", (remark.name or "?", "bold yellow"))
            yield Padding(Text(_input(remark, full=full), style="yellow"), (0, 0, 0, 4))
        case "result":
            style = "red" if remark.is_error else "dim"
            mark = "✗ " if remark.is_error else "◂ "
            text = _shown(remark.text, full=full) or "(nothing)"
            yield Padding(Text(mark + text, style=style), (0, 0, 0, 4))
        case "note":
            yield Text(f"  ~ {_shown(remark.text, full=full)}", style="magenta")


def _input(remark: Remark, *, full: bool) -> str:
    """A tool's input, a line for each field; text as it is."""
    given = remark.input or {}
    return "\n".join(
        f"{name}: "
        + _shown(
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), full=full
        )
        for name, value in given.items()
    )


def _shown(text: str, *, full: bool) -> str:
    if full:
        return text
    lines = [line if len(line) <= WIDTH else f"{line[:WIDTH]}…" for line in text.splitlines()]
    if len(lines) <= LINES:
        return "\n".join(lines)
    return "\n".join([*lines[:LINES], f"… {len(lines) - LINES} more lines (--full shows them)"])
