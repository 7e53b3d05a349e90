"""Attachments in memory: objects in a dictionary, read and checked as the real ones are."""

from contracts import JobRequest
from worker.adapters.attachments import Blocks, load
from worker.domain.policy import AttachmentRules, RefusedOptionError


class MemoryAttachments:
    """Objects by key."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def load(self, request: JobRequest, rules: AttachmentRules) -> Blocks:
        async def read(key: str, size: int) -> bytes:
            if key not in self.objects:
                text = f"attachments: {key!r} cannot be read (NoSuchKey)"
                raise RefusedOptionError("attachment_unreadable", text)
            return self.objects[key][: size + 1]

        return await load(request, rules, read)
