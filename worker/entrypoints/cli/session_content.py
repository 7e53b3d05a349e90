"""The committed session of a chat, for the commands that read it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from worker.entrypoints.cli.connection import connected
from worker.entrypoints.cli.output import fail

if TYPE_CHECKING:
    from worker.adapters.aws import Aws
    from worker.operations.archive import Archive
    from worker.settings import Resources


def committed(key: str) -> "Archive":
    """The committed session of a chat, read and verified."""
    from worker.adapters.objects import ObjectStore  # noqa: PLC0415
    from worker.operations.content import download  # noqa: PLC0415
    from worker.operations.sessions import SessionBook  # noqa: PLC0415

    async def work(resources: "Resources", aws: "Aws") -> "Archive | None":
        row = await SessionBook(aws, resources.session_table).get(key)
        if row is None or row.head.session_id is None:
            return None
        store = ObjectStore(aws, resources.session_bucket)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return await download(store, row.head, at)

    found = connected(work)
    if found is None:
        fail(f"chat {key} has no session: nothing was committed yet, or it has expired")
    return found
