"""`sessions`: look into chats; what changes them is in session_changes.py."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from worker.entrypoints.cli import session_changes
from worker.entrypoints.cli.chats import Chat, Tenant, Thread, key_of
from worker.entrypoints.cli.connection import connected
from worker.entrypoints.cli.output import Json, console, fail
from worker.entrypoints.cli.session_content import committed
from worker.entrypoints.cli.session_views import (
    chat_facts,
    chat_json,
    erased,
    held_json,
    why,
)
from worker.entrypoints.cli.words import ago, dollars, size, span

if TYPE_CHECKING:
    from worker.adapters.aws import Aws
    from worker.operations.blocked import Held
    from worker.operations.sessions import Chat as ChatRow
    from worker.settings import Resources

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Look into chats, carry them elsewhere, start them anew, delete them.

[bold]Look[/bold], which changes nothing:

    agent-worker sessions list
    agent-worker sessions transcript 123
    agent-worker sessions blocked

[bold]Change[/bold], which is refused while a worker has the chat, unless --force:

    agent-worker sessions fork 123 --turn 4 --to-chat 999
    agent-worker sessions reset 123
    agent-worker sessions delete 123

A chat is named by its id and, if it has one, --thread and --tenant; or by its key, like
acme/123:456. docs/sessions.md tells more.""",
)


@app.command("list")
def list_chats(
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Chats to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List chats, the latest turn first. Reads the whole session table."""
    from worker.operations.sessions import SessionBook  # noqa: PLC0415

    async def work(resources: "Resources", aws: "Aws") -> "list[ChatRow]":
        book = SessionBook(aws, resources.session_table)
        return [chat async for chat in book.all(tenant) if not erased(chat.head)]

    chats = sorted(connected(work), key=lambda chat: chat.changed_at or 0.0, reverse=True)
    now, shown = time.time(), chats[:limit]
    if as_json:
        listed = {"chats": [chat_json(chat, now) for chat in shown], "total": len(chats)}
        sys.stdout.write(json.dumps(listed) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("last turn", justify="right", no_wrap=True)
    table.add_column("chat", overflow="fold")
    for name in ("turns", "cost", "stored"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("lease", no_wrap=True)
    for chat in shown:
        lease = chat.head.lease
        table.add_row(
            ago(chat.changed_at, now),
            Text(chat.key),
            str(chat.head.turns),
            dollars(chat.head.cost_usd),
            size(chat.stored_bytes),
            "" if lease is None else "live" if lease.live(now) else "run out",
        )
    console.print(table if chats else Text("no chats", style="dim"), highlight=False)
    if len(chats) > len(shown):
        console.print(f"[dim]{len(shown)} of {len(chats)}; --limit shows more[/]", highlight=False)


@app.command()
def show(chat: Chat, thread: Thread = None, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show one chat: its session, its lease, its jobs, what it has used."""
    from worker.operations.jobs import JobBook  # noqa: PLC0415
    from worker.operations.sessions import SessionBook  # noqa: PLC0415

    key = key_of(chat, thread, tenant)

    async def work(resources: "Resources", aws: "Aws") -> "tuple[ChatRow | None, dict[str, int]]":
        row = await SessionBook(aws, resources.session_table).get(key)
        book = JobBook(aws, resources.job_table)
        ids = [hit.job_id async for hit in book.of_chat(key)]
        states: dict[str, int] = {}
        for job in await book.many(ids):
            states[job.record.state.value] = states.get(job.record.state.value, 0) + 1
        return row, states

    row, states = connected(work)
    if row is None or (erased(row.head) and not states):
        fail(f"nothing is known of chat {key}")
    now = time.time()
    if as_json:
        sys.stdout.write(json.dumps(chat_json(row, now) | {"jobs": states}) + "\n")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in chat_facts(row, states, now):
        table.add_row(name, value)
    console.print(table, highlight=False)


@app.command()
def transcript(
    chat: Chat,
    thread: Thread = None,
    tenant: Tenant = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only the last turns.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Whole inputs and results of tools.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a chat's conversation: what was said, and which tools were called.

    It holds what people wrote. Only the committed part: not the turn that is running.
    """
    from worker.domain.dialogue import dialogue  # noqa: PLC0415
    from worker.entrypoints.cli.transcript import print_turns, turns_json  # noqa: PLC0415
    from worker.operations.content import main_entries  # noqa: PLC0415

    content = committed(key_of(chat, thread, tenant))
    turns = dialogue(main_entries(content))
    turns = turns if last is None else turns[-last:]
    if as_json:
        shown = {"session_id": content.session_id, "turns": turns_json(turns)}
        sys.stdout.write(json.dumps(shown, ensure_ascii=False) + "\n")
        return
    print_turns(console, turns, full=full)


@app.command()
def blocked(as_json: Json = False) -> None:
    """List chats that a job holds: since when, why, and when they are free again.

    The chat's later messages wait in the queue for it. A message that no worker has taken yet is
    not here: SQS does not tell what a message group holds.
    """
    from worker.operations.blocked import held_chats  # noqa: PLC0415
    from worker.operations.jobs import JobBook  # noqa: PLC0415
    from worker.operations.sessions import SessionBook  # noqa: PLC0415

    now = time.time()

    async def work(resources: "Resources", aws: "Aws") -> "list[Held]":
        jobs = JobBook(aws, resources.job_table)
        return await held_chats(jobs, SessionBook(aws, resources.session_table), now)

    held = connected(work)
    if as_json:
        listed = {"blocked": [held_json(item) for item in held]}
        sys.stdout.write(json.dumps(listed) + "\n")
        return
    if not held:
        console.print("no chat is held by a job", style="dim")
    for item in held:
        record = item.job.record
        console.print(
            Text.assemble((item.job.chat, "bold"), f"  held for {span(now - item.since)}")
        )
        console.print(f"  job   {item.job.job_id}, attempt {record.attempt}", highlight=False)
        console.print(f"  why   {why(item, now)}", highlight=False, markup=False)


app.command("export")(session_changes.export_session)
app.command("import")(session_changes.import_session)
app.command()(session_changes.fork)
app.command()(session_changes.reset)
app.command()(session_changes.delete)
