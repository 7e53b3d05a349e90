"""`jobs`: look into jobs, cancel them, run them again."""

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from worker.entrypoints.cli.chats import key_of
from worker.entrypoints.cli.connection import connected
from worker.entrypoints.cli.output import Json, console, fail
from worker.entrypoints.cli.words import (
    Before,
    Since,
    ago,
    dollars,
    read_time,
    shortened,
    state_text,
)

if TYPE_CHECKING:
    from contracts import Event
    from worker.adapters.aws import Aws
    from worker.domain.timeline import JobDetails
    from worker.operations.jobs import JobFilter, Page, Position
    from worker.settings import Resources

STATES = ("running", "answered", "published", "failed", "rejected", "cancelled")

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Look into jobs: what ran, what it cost, what went wrong; cancel them, run them again.

[bold]Look[/bold], which changes nothing:

    agent-worker jobs list --state failed --since 1d
    agent-worker jobs show update-8812
    agent-worker jobs result update-8812

[bold]Act[/bold]:

    agent-worker jobs cancel update-8812
    agent-worker jobs retry update-8812

docs/jobs.md tells more.""",
)

JobId = Annotated[
    str, typer.Argument(help="The job's id, as `send` prints it and events carry it.")
]
Chat = Annotated[
    str | None, typer.Option(help="Only of this chat: its id, or its key like default/123:456.")
]
Thread = Annotated[str | None, typer.Option(help="The thread within --chat.")]
Tenant = Annotated[str | None, typer.Option(help="Only of this tenant.")]


@app.command("list")
def list_jobs(
    state: Annotated[
        list[str] | None,
        typer.Option(help=f"Only in this state; can be repeated: {', '.join(STATES)}."),
    ] = None,
    chat: Chat = None,
    thread: Thread = None,
    tenant: Tenant = None,
    error: Annotated[str | None, typer.Option(help="Only with this error code.")] = None,
    since: Since = "31d",
    before: Before = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Jobs on a page.")] = 20,
    after: Annotated[
        str | None, typer.Option(help="Where the page before ended, as it was printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first.

    Running jobs count by their last step, ended ones by their end, those of one --chat by when they
    were first taken. With --json one object has `jobs` and `next`, the value for --after.
    """
    from worker.operations.jobs import JobBook, JobFilter, Position  # noqa: PLC0415

    if unknown := set(state or ()) - set(STATES):
        raise typer.BadParameter(f"{unknown.pop()!r}; choose from: {', '.join(STATES)}")
    wanted = JobFilter(
        states=frozenset(state) if state else None,
        chat=chat and key_of(chat, thread, tenant),
        tenant=tenant,
        error_code=error,
        since=read_time("--since", since) or 0.0,
        before=read_time("--before", before),
    )
    try:
        position = Position.parse(after) if after else None
    except ValueError as exc:
        raise typer.BadParameter(f"{after!r} is not what a list printed") from exc

    async def work(resources: "Resources", aws: "Aws") -> "Page":
        book = JobBook(aws, resources.job_table)
        return await book.find(wanted, time.time(), limit, position)

    page = connected(work)
    if as_json:
        _print_json(page)
    else:
        _print_page(page, wanted)


@app.command()
def show(job_id: JobId, as_json: Json = False) -> None:
    """Show one job: state, cost, and what happened to it, in order."""
    from worker.entrypoints.cli.history import (  # noqa: PLC0415
        facts,
        job_json,
        time_line,
        time_line_json,
    )

    job = _job(job_id)
    event = _event_id(job)
    if as_json:
        shown = job_json(job) | {"event_id": event, "timeline": time_line_json(job)}
        sys.stdout.write(json.dumps(shown) + "\n")
        return
    console.print(facts(job, event), highlight=False)
    console.print()
    console.print(time_line(job), highlight=False)


@app.command()
def result(job_id: JobId, as_json: Json = False) -> None:
    """Print a job's result, the whole of it: the agent's answer, or with --json its event.

    Exit status: 0 answered, 1 no such job or result, 3 ended with an error, 4 not ended yet.
    """
    from contracts import parse_event  # noqa: PLC0415
    from worker.entrypoints.cli.messages import show_result  # noqa: PLC0415

    job = _job(job_id)
    text = job.record.event
    if text is None and job.outcome is None:
        fail(f"{job_id} has not ended: it is {job.record.state.value}", code=4)
    if text is None:
        fail(f"{job_id} has ended as {job.outcome}, and its result was deleted")
    event = parse_event(text)
    show_result(event, as_json=as_json, whole=None if as_json else _whole(event))
    if event.data.is_error:
        raise typer.Exit(3)


@app.command()
def cancel(
    job_id: JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Cancel a job: one that runs within about a second, one that waits before it begins.

    The chat goes on with its next message. Exit status: 0 asked for (with --wait: cancelled), 1 it
    has ended before, 4 it has not ended in time.
    """
    from worker.operations.identity import user_name  # noqa: PLC0415
    from worker.operations.jobs import JobBook, is_job_id  # noqa: PLC0415

    if not is_job_id(job_id):
        fail(f"{job_id!r} is no job id", code=2)

    async def work(resources: "Resources", aws: "Aws") -> "JobDetails | None":
        book = JobBook(aws, resources.job_table)
        job = await book.get(job_id)
        if job is None or job.outcome is None:
            await book.cancel(job_id, time.time(), user_name())
        until = time.monotonic() + timeout
        while wait and (job is None or job.outcome is None) and time.monotonic() < until:
            await asyncio.sleep(0.5)
            job = await book.get(job_id)
        return job

    _tell_cancelled(job_id, connected(work), wait=wait, as_json=as_json)


def _tell_cancelled(job_id: str, job: "JobDetails | None", *, wait: bool, as_json: bool) -> None:
    outcome = job.outcome if job else None
    if as_json:
        said = {"job_id": job_id, "state": job.record.state.value if job else None}
        sys.stdout.write(json.dumps(said | {"outcome": outcome}) + "\n")
    elif outcome == "cancelled":
        console.print(f"{job_id} is cancelled", highlight=False, soft_wrap=True)
    elif outcome is None:
        where = "runs" if job else "is not known: if it waits in the queue, it will not begin"
        text = f"asked for: {job_id} {where}"
        console.print(text, highlight=False, soft_wrap=True)
    if outcome not in {None, "cancelled"}:
        fail(f"{job_id} has ended as {outcome}: there is nothing to cancel")
    if wait and outcome is None:
        fail(f"{job_id} has not ended yet; its result will tell", code=4)


@app.command()
def retry(
    job_id: JobId,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without it nothing is changed.")
    ] = False,
    vouch: Annotated[
        bool,
        typer.Option("--vouch", help="Also if its sender was not authorized: you answer for it."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a failed or rejected job again, from its dead letter: a replay of this one job.

    Without --yes it only says what that would do. The same as `agent-worker dlq replay JOB`.
    """
    from worker.entrypoints.cli.dlq.replaying import replay  # noqa: PLC0415

    job = _job(job_id)
    if not job.dead_letter:
        fail(
            f"{job_id} is {job.record.state.value}: only a job that failed or was rejected has a "
            "dead letter to run again from; send a new message instead"
        )
    replay(ids=[job_id], yes=yes, vouch=vouch, as_json=as_json)


def _job(job_id: str) -> "JobDetails":
    from worker.operations.jobs import JobBook  # noqa: PLC0415

    async def work(resources: "Resources", aws: "Aws") -> "JobDetails | None":
        return await JobBook(aws, resources.job_table).get(job_id)

    job = connected(work)
    if job is None:
        fail(
            f"no job {job_id!r} is known: it has not been taken from the queue yet, or its row "
            "has expired (JOB_TTL_DAYS)"
        )
    return job


def _event_id(job: "JobDetails") -> str | None:
    return str(json.loads(job.record.event)["id"]) if job.record.event else None


def _whole(event: "Event") -> str | None:
    """The response of a result that was too large for its event."""
    ref = getattr(event.data, "response_ref", None)
    if ref is None:
        return None

    async def work(_: "Resources", aws: "Aws") -> str:
        answer = await aws.call("s3", "get_object", Bucket=ref.bucket, Key=ref.key)
        return str((await aws.run(answer["Body"].read)).decode())

    return connected(work)


def _print_page(page: "Page", wanted: "JobFilter") -> None:
    now = time.time()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("job", overflow="fold")
    table.add_column("chat", no_wrap=True)
    table.add_column("try", justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    for job in page.jobs:
        state = state_text(job.record.state.value)
        if job.record.error_code:
            state.append(f"\n{job.record.error_code}", style="dim")
        at = job.record.created_at if wanted.chat else job.changed_at
        table.add_row(
            ago(at, now).removesuffix(" ago"),
            state,
            job.job_id,
            Text(shortened(job.chat or "-", 20)),
            str(job.record.attempt),
            dollars(job.cost_usd),
        )
    if page.jobs:
        console.print(table, highlight=False)
    else:
        console.print("no such jobs", style="dim")
    if page.next:
        console.print("\n[dim]older ones: the same with[/]", highlight=False)
        console.print(f"  --after '{page.next}'", highlight=False, soft_wrap=True)


def _print_json(page: "Page") -> None:
    from worker.entrypoints.cli.history import job_json  # noqa: PLC0415

    after: Position | None = page.next
    listed = {"jobs": [job_json(job) for job in page.jobs], "next": after and str(after)}
    sys.stdout.write(json.dumps(listed) + "\n")
