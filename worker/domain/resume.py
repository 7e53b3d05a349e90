"""How a turn that was cut off goes on: from what it had recorded, not from nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

CONTINUE_PROMPT = "Continue where you left off."
"""The prompt of a turn that goes on. The CLI itself closes a tool call that has no result, and
tells the model that its outcome is unknown."""

READ_ONLY_TOOLS = frozenset(
    {"Read", "Glob", "Grep", "LS", "WebFetch", "WebSearch", "ToolSearch", "StructuredOutput"}
)
"""Tools that change nothing: a call of theirs need not be recorded before it runs."""

Entry = Mapping[str, Any]


def recorded_part(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries of a cut-off turn to go on from; none means that the turn starts again.

    A turn that called no tool has done nothing: it starts again from the prompt, which is cheaper
    for the model than to go on in the middle of a sentence. What the CLI wrote about a failed
    model call at the end is left out: the model shall see its own last word.
    """
    if not any(tool_calls(entry) for entry in entries):
        return ()
    end = len(entries)
    while end > 0 and (entries[end - 1].get("isApiErrorMessage") or not _said(entries[end - 1])):
        end -= 1
    return tuple(entries[:end])


def grafted(entries: Sequence[Entry], last: str | None) -> tuple[Entry, ...]:
    """Recorded entries as a continuation of what is committed by now: the entry with uuid `last`.

    A dead letter is replayed after other messages of its chat. The CLI follows each entry to its
    parent, and an entry that stayed behind would take the conversation back to where it was.
    """
    first = next((n for n, entry in enumerate(entries) if _said(entry)), len(entries))
    return tuple(
        {**entry, "parentUuid": last} if n == first else entry for n, entry in enumerate(entries)
    )


def in_session(entry: Entry, session_id: str) -> Entry:
    """An entry as one of this session; a chat's session may have been started anew since."""
    return {**entry, "sessionId": session_id} if "sessionId" in entry else entry


def tool_calls(entry: Entry) -> tuple[str, ...]:
    """The ids of the tool calls in a transcript entry."""
    message = entry.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    if entry.get("type") != "assistant" or not isinstance(content, Sequence):
        return ()
    return tuple(
        str(block.get("id"))
        for block in content
        if isinstance(block, Mapping) and block.get("type") == "tool_use"
    )


def _said(entry: Entry) -> bool:
    """Part of the conversation, and not a note about the process."""
    return "uuid" in entry
