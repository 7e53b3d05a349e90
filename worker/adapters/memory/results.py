"""What leaves the worker, in memory: large results, events, log steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.domain.trace import Trace


class MemoryResults:
    """Large results in a dictionary."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def store(self, key: str, text: str) -> Mapping[str, object]:
        self.texts[key] = text
        return {
            "bucket": "memory",
            "key": key,
            "size": len(text.encode()),
            "url": f"memory://{key}",
        }


@dataclass
class MemoryPublisher:
    """Published events in a list, in order; `told` are those of running turns."""

    events: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def publish(self, event: str) -> None:
        self.events.append(event)

    async def tell(self, events: Sequence[str]) -> None:
        self.told.extend(events)


@dataclass
class MemoryJournal:
    """Steps in a list."""

    steps: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def begin(
        self, trace: Trace | None = None, sent_at: float | None = None, **fields: object
    ) -> None:
        self.steps.append(("begin", {**fields, "trace": trace, "sent_at": sent_at}))

    def note(self, step: str, **fields: object) -> None:
        self.steps.append((step, fields))

    def failure(self, step: str, exc: BaseException, **fields: object) -> None:
        self.steps.append((step, {**fields, "error": repr(exc)}))
