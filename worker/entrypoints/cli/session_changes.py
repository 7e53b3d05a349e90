"""`sessions export, import, fork, reset, delete`: what changes a chat, or carries it elsewhere."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.entrypoints.cli.chats import Chat, Force, Tenant, Thread, Yes, confirm, key_of
from worker.entrypoints.cli.connection import connected
from worker.entrypoints.cli.output import Json, console, fail
from worker.entrypoints.cli.session_content import committed
from worker.entrypoints.cli.words import counted, size

if TYPE_CHECKING:
    from worker.adapters.aws import Aws
    from worker.operations.archive import Archive
    from worker.operations.content import Forked
    from worker.operations.deletion import Deletion, Holdings
    from worker.settings import Resources

DAY = 86400.0

Keep = Annotated[
    float,
    typer.Option(
        min=0.01, max=60, help="Days until the session ends without a turn (SESSION_TTL_DAYS)."
    ),
]
Replace = Annotated[bool, typer.Option("--replace", help="Also when that chat has a session.")]


def export_session(
    chat: Chat,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    thread: Thread = None,
    tenant: Tenant = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also when it exists.")] = False,
) -> None:
    """Write a chat's session into one file: conversation, workspace files, manifest.

    The file holds what people wrote, in the clear. Only its owner may read it.
    """
    from worker.entrypoints.cli.files import write_new  # noqa: PLC0415
    from worker.operations.archive import write_archive  # noqa: PLC0415

    content = committed(key_of(chat, thread, tenant))
    with write_new(out, overwrite=overwrite) as target:
        write_archive(content, target)
    console.print(
        f"{out}: session {content.session_id} of {content.session_key}, {size(content.size)}",
        highlight=False,
        soft_wrap=True,
    )


def import_session(
    file: Annotated[Path, typer.Argument(help="What `export` wrote.")],
    to_chat: Annotated[
        str | None, typer.Option(help="Into this chat; by default the one it is of.")
    ] = None,
    to_thread: Annotated[str | None, typer.Option(help="The thread within --to-chat.")] = None,
    to_tenant: Annotated[str | None, typer.Option(help="The tenant of --to-chat.")] = None,
    replace: Replace = False,
    keep_days: Keep = 30,
    force: Force = False,
) -> None:
    """Make a chat go on with an exported session. A damaged file changes nothing.

    In another chat it becomes a session with an id of its own.
    """
    from worker.operations.archive import ArchiveError, read_archive  # noqa: PLC0415
    from worker.operations.content import check, renamed  # noqa: PLC0415

    try:
        content = read_archive(file)
    except ArchiveError as exc:
        fail(str(exc))
    key = key_of(to_chat, to_thread, to_tenant) if to_chat else content.session_key

    def prepare() -> "Archive":
        check(content)
        return content if key == content.session_key else renamed(content)

    session = _install(key, prepare, replace=replace, keep_days=keep_days, force=force)
    console.print(f"{key} goes on with session {session}", highlight=False, soft_wrap=True)


def fork(
    chat: Chat,
    to_chat: Annotated[str, typer.Option(help="The chat that gets the copy.")],
    to_thread: Annotated[str | None, typer.Option(help="The thread within --to-chat.")] = None,
    to_tenant: Annotated[
        str | None, typer.Option(help="The tenant of --to-chat; by default the same.")
    ] = None,
    turn: Annotated[
        int | None, typer.Option(min=1, help="The last turn to keep; by default all.")
    ] = None,
    files: Annotated[
        bool | None,
        typer.Option(
            "--files/--no-files",
            help="Whether the workspace's files, as they are now, go with it; by default only "
            "with all turns.",
        ),
    ] = None,
    thread: Thread = None,
    tenant: Tenant = None,
    replace: Replace = False,
    keep_days: Keep = 30,
    force: Force = False,
) -> None:
    """Start another chat with a copy of this one's session, up to a turn. This one stays as it is.

    `agent-worker sessions transcript` numbers the turns.
    """
    from worker.operations.content import forked  # noqa: PLC0415

    source = key_of(chat, thread, tenant)
    key = key_of(to_chat, to_thread, to_tenant or source.partition("/")[0])
    if key == source:
        fail(f"{key} cannot be forked into itself; name another chat or thread")
    content = committed(source)
    made: list[Forked] = []

    def prepare() -> "Archive":
        made.append(forked(content, turn, with_files=files))
        return made[0].content

    session = _install(key, prepare, replace=replace, keep_days=keep_days, force=force)
    kept = "with" if made[0].with_files else "without"
    console.print(
        f"{key} goes on with session {session}: {counted(made[0].turns, 'turn')} of {source}, "
        f"{kept} the files of its workspace",
        highlight=False,
        soft_wrap=True,
    )


def reset(chat: Chat, thread: Thread = None, tenant: Tenant = None, force: Force = False) -> None:
    """Start a chat anew: its next message begins a new session, as a request's `new` does.

    What was stored stays until it expires; `delete` removes it.
    """
    from worker.operations.sessions import SessionBook  # noqa: PLC0415

    key = key_of(chat, thread, tenant)

    async def work(resources: "Resources", aws: "Aws") -> str | None:
        book = SessionBook(aws, resources.session_table)
        row = await book.get(key)
        if row is None or row.head.session_id is None:
            return None
        await book.reset(row.head, time.time(), force=force)
        return row.head.session_id

    ended = connected(work)
    if ended is None:
        console.print(f"{key} has no session: its next message starts one anyway", highlight=False)
    else:
        console.print(f"{key}: session {ended} has ended", highlight=False, soft_wrap=True)


def delete(
    chat: Chat,
    thread: Thread = None,
    tenant: Tenant = None,
    force: Force = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete a chat with all its data: conversation, files, turn logs, results of its jobs.

    Its messages in the queue and in the dead-letter queue stay. The ids of its jobs stay until
    their rows expire, so that a copy of a message does not run again. Needs s3:DeleteObject.
    """
    from worker.entrypoints.cli.session_views import (  # noqa: PLC0415
        holdings_json,
        print_holdings,
    )
    from worker.operations.deletion import Deletion  # noqa: PLC0415
    from worker.operations.jobs import JobBook  # noqa: PLC0415
    from worker.operations.sessions import SessionBook  # noqa: PLC0415

    key = key_of(chat, thread, tenant)

    def deletion(resources: "Resources", aws: "Aws") -> "Deletion":
        sessions = SessionBook(aws, resources.session_table)
        jobs = JobBook(aws, resources.job_table)
        return Deletion(aws, sessions, jobs, resources.session_bucket)

    async def look(resources: "Resources", aws: "Aws") -> "Holdings":
        return await deletion(resources, aws).holdings(key)

    held = connected(look)
    if held.empty:
        fail(f"nothing is known of chat {key}")
    if not as_json:
        print_holdings(console, key, held)
    confirm(f"Delete all of it, for good? Chat {key}", yes=yes)

    async def act(resources: "Resources", aws: "Aws") -> None:
        await deletion(resources, aws).delete(held, time.time(), force=force)

    connected(act)
    if as_json:
        sys.stdout.write(json.dumps(holdings_json(key, held)) + "\n")
    else:
        console.print(f"[bold]deleted[/]: {key}", highlight=False, soft_wrap=True)


def _install(
    key: str, prepare: "Callable[[], Archive]", *, replace: bool, keep_days: float, force: bool
) -> str:
    """Store what `prepare` makes, and make the chat go on with it; returns the session's id."""
    from worker.adapters.objects import ObjectStore  # noqa: PLC0415
    from worker.domain.session import SessionHead  # noqa: PLC0415
    from worker.operations.content import ContentError, upload  # noqa: PLC0415
    from worker.operations.sessions import ChatBusyError, Content, SessionBook  # noqa: PLC0415

    async def work(resources: "Resources", aws: "Aws") -> str:
        book = SessionBook(aws, resources.session_table)
        store = ObjectStore(aws, resources.session_bucket)
        now = time.time()
        row = await book.get(key)
        head = row.head if row else SessionHead(key)
        if row is not None and row.session(now) is not None and not replace:
            raise ContentError(
                f"chat {key} has a session of {counted(head.turns, 'turn')}; --replace puts this "
                "one in its place (export that one first, to keep it)"
            )
        if head.lease is not None and head.lease.live(now) and not force:
            raise ChatBusyError(key, head.lease, now)
        content = await aws.run(prepare)
        lines, files = await upload(store, content, head, now)
        given = Content(content.session_id, lines, files, now + keep_days * DAY)
        await book.install(head, given, now, force=force)
        return str(content.session_id)

    return connected(work)
