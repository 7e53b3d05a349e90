"""A transcript as the conversation it is: turns, what was said in them, which tools were called.

The entries are the CLI's own, in the order they were written (see adapters/segments.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from worker.domain.resume import CONTINUE_PROMPT, Entry

Kind = Literal["text", "thinking", "call", "result", "note"]


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing in a turn: the agent's text or thinking, a tool call (`name`, `input`), a call's
    result (`is_error`), or a note about the conversation. `call` is the tool call's id.
    """

    kind: Kind
    text: str = field(default="", repr=False)
    name: str | None = None
    input: Mapping[str, Any] | None = field(default=None, repr=False)
    call: str | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A user's message and what came of it. `number` counts from 1; `at` is as the CLI wrote it."""

    number: int
    at: str | None
    prompt: str = field(repr=False)
    remarks: tuple[Remark, ...] = field(repr=False)


def dialogue(entries: Sequence[Entry]) -> tuple[Turn, ...]:
    """The turns of a main transcript."""
    starts = turn_starts(entries)
    ends = [*starts[1:], len(entries)]
    return tuple(
        Turn(
            number,
            entries[start].get("timestamp"),
            _text(_content(entries[start])),
            tuple(_remarks(entries[start + 1 : end])),
        )
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), 1)
    )


def turn_starts(entries: Sequence[Entry]) -> list[int]:
    """Where each turn begins: the user's messages. What continues a turn that was cut off, and
    what the CLI itself says in the user's name, begins none.
    """
    return [n for n, entry in enumerate(entries) if _is_prompt(entry)]


def entries_until(entries: Sequence[Entry], turn: int) -> tuple[Entry, ...]:
    """The entries of the first `turn` turns: a transcript that the CLI resumes as it stood then.

    What the CLI notes before a message (its queue) belongs to that message.
    """
    starts = turn_starts(entries)
    end = starts[turn] if turn < len(starts) else len(entries)
    while 0 < end < len(entries) and "uuid" not in entries[end - 1]:
        end -= 1
    return tuple(entries[:end])


def _is_prompt(entry: Entry) -> bool:
    if entry.get("type") != "user" or any(
        entry.get(flag) for flag in ("isMeta", "isSidechain", "isCompactSummary")
    ):
        return False
    content = _content(entry)
    if any(block.get("type") == "tool_result" for block in content):
        return False
    return _text(content) != CONTINUE_PROMPT


def _remarks(entries: Sequence[Entry]) -> Iterator[Remark]:
    for entry in entries:
        if entry.get("type") == "system" and entry.get("subtype") == "compact_boundary":
            yield Remark("note", "the conversation so far was summarized for the model")
        if entry.get("isMeta") or entry.get("isSidechain"):
            continue
        if entry.get("type") == "assistant":
            yield from filter(None, map(_said, _content(entry)))
        elif entry.get("type") == "user":
            yield from _user_remarks(entry)


def _user_remarks(entry: Entry) -> Iterator[Remark]:
    content = _content(entry)
    if entry.get("isCompactSummary"):
        yield Remark("note", _text(content))
    elif _text(content) == CONTINUE_PROMPT:
        yield Remark("note", "the turn was cut off here, and continued by another attempt")
    for block in content:
        if block.get("type") == "tool_result":
            yield Remark(
                "result",
                _text(_blocks(block.get("content"))),
                call=block.get("tool_use_id"),
                is_error=bool(block.get("is_error")),
            )


def _said(block: Mapping[str, Any]) -> Remark | None:
    match block.get("type"):
        case "text":
            return Remark("text", str(block.get("text", "")))
        case "thinking":
            return Remark("thinking", str(block.get("thinking", "")))
        case "tool_use":
            given = block.get("input")
            return Remark(
                "call",
                name=str(block.get("name")),
                input=given if isinstance(given, Mapping) else {},
                call=block.get("id"),
            )
        case _:
            return None


def _content(entry: Entry) -> list[Mapping[str, Any]]:
    message = entry.get("message")
    return _blocks(message.get("content") if isinstance(message, Mapping) else None)


def _blocks(content: object) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, Sequence):
        return [block for block in content if isinstance(block, Mapping)]
    return []


def _text(blocks: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(
        str(block.get("text", ""))
        if block.get("type") == "text"
        else f"[{block.get('type')}]"
        if block.get("type") != "tool_result"
        else json.dumps(block.get("content"))
        for block in blocks
    )
