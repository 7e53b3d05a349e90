"""What of a transcript is still needed: the CLI sums a long conversation up, and goes on from that.

At a `compact_boundary` the model's history begins anew, with a summary and some earlier entries
that the boundary names. A resume uses exactly these: the model is asked the same with and without
what lies before them.
"""

from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]

BOUNDARY = "compact_boundary"


def is_boundary(entry: Entry) -> bool:
    """Whether the conversation was summarized here."""
    return entry.get("type") == "system" and entry.get("subtype") == BOUNDARY


def preserved(boundary: Entry) -> frozenset[str] | None:
    """The uuids of earlier entries that the model still sees; None when the boundary does not say,
    and then nothing can be left out.
    """
    metadata = boundary.get("compactMetadata")
    if not isinstance(metadata, Mapping):
        return None
    messages = metadata.get("preservedMessages")
    if messages is None:
        return None if metadata.get("preservedSegment") else frozenset()
    uuids = messages.get("allUuids") if isinstance(messages, Mapping) else None
    return frozenset(map(str, uuids)) if isinstance(uuids, list) else None
