"""`dlq replay`, `dlq watch` and `dlq replays`."""

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.entrypoints.cli.dlq.common import (
    Chat,
    Everything,
    Group,
    Ids,
    Newer,
    Older,
    Reason,
    Tenant,
    Yes,
    narrowed,
    selection,
    with_desk,
)
from worker.entrypoints.cli.output import Json, console, errors, fail
from worker.entrypoints.cli.words import ago, instant, iso

if TYPE_CHECKING:
    from worker.replay.case import Selection
    from worker.replay.desk import Desk
    from worker.replay.journal import Progress
    from worker.replay.plan import Plan
    from worker.replay.run import Manner, Watcher

WATCH_SECONDS = 0.5

Rate = Annotated[
    str | None, typer.Option(help="At most so many letters: 5/s, 60/m, 1000/h. Default: no limit.")
]


def replay(
    ids: Ids = None,
    group: Group = None,
    reason: Reason = None,
    chat: Chat = None,
    tenant: Tenant = None,
    older: Older = None,
    newer: Newer = None,
    everything: Everything = False,
    yes: Yes = False,
    rate: Rate = None,
    vouch: Annotated[
        bool,
        typer.Option(
            "--vouch", help="Also letters whose sender was not authorized: you answer for them."
        ),
    ] = False,
    resume: Annotated[
        str | None, typer.Option(help="Go on with this replay, which was killed or stopped.")
    ] = None,
    hold: Annotated[
        float,
        typer.Option(
            min=1, max=600, help="Seconds that letters stay hidden should this command be killed."
        ),
    ] = 30.0,
    limit: Annotated[int, typer.Option(min=0, help="Letters to print in a dry run.")] = 20,
    as_json: Json = False,
) -> None:
    """Send letters to the job queue again; without --yes, only say what that would do.

    The letters of a chat go in the order they were first sent. A job that was
    answered since does not run, one that was answered and not published is
    only published, and a letter that is sent twice runs once. A letter leaves
    the dead-letter queue only when it was sent and that was written down: kill
    the command at any time, and go on with --resume.

    Exit status: 0 all is done, 1 an error, 5 something is left to do.
    """
    from worker.replay.run import Manner  # noqa: PLC0415

    manner = Manner(vouch=vouch, rate=_per_second(rate), hold=hold, patience=2 * hold + 2)
    if resume is not None:
        _carry_out(None, manner, resume, as_json=as_json)
        return
    chosen = narrowed(selection(ids, group, reason, chat, tenant, older, newer), everything)
    if not yes:
        _dry_run(chosen, manner, limit, as_json=as_json)
        return
    _carry_out(chosen, manner, None, as_json=as_json)


def watch(
    replay: Annotated[
        str | None, typer.Argument(help="The replay; the latest one if left out.")
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Let it pause.")] = False,
    go_on: Annotated[bool, typer.Option("--continue", help="End its pause.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End it; what was not sent yet stays.")
    ] = False,
    rate: Rate = None,
    as_json: Json = False,
) -> None:
    """Watch a replay that runs elsewhere, or pause it, go on, slow it down or cancel it.

    Ctrl-C ends the watching, not the replay.
    """
    from worker.replay.journal import Control, Wish  # noqa: PLC0415

    if pause + go_on + cancel > 1:
        raise typer.BadParameter("--pause, --continue and --cancel exclude each other")
    per_second = _per_second(rate)
    wishes = pause or go_on or cancel or rate is not None
    name = with_desk(lambda desk: _named(desk, replay))

    async def wish(desk: "Desk") -> Control:
        from worker.replay.journal import ReplayJournal  # noqa: PLC0415

        journal = ReplayJournal(desk.ports)
        before = await journal.control(name)
        wanted = before.wish
        if pause or go_on or cancel:
            wanted = Wish.PAUSE if pause else Wish.CANCEL if cancel else Wish.RUN
        control = Control(wanted, before.rate if rate is None else per_second)
        await journal.wish(name, control)
        speed = "" if control.rate is None else f"at most {control.rate:g} a second"
        await desk.audit(f"replay {control.wish.value} wished", speed, replay=name)
        return control

    if wishes:
        control = with_desk(wish, acts=True)
        console.print(f"{name}: told to {control.wish.value}", highlight=False)
        if not go_on:
            return
    _follow(name, as_json=as_json)


def replays(
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List replays: who began them, when, and how far they are."""
    from worker.replay.journal import ReplayJournal, Written  # noqa: PLC0415

    async def work(desk: "Desk") -> "list[tuple[Written, Progress | None]]":
        journal = ReplayJournal(desk.ports)
        found = []
        for name in (await journal.names())[-limit:]:
            written = await journal.plan(name)
            if written is not None:
                found.append((written, await journal.progress(name)))
        return found

    found, now = with_desk(work), time.time()
    if as_json:
        for written, progress in found:
            row = {**asdict(written), "at": iso(written.at), "progress": _row(progress)}
            sys.stdout.write(json.dumps(row) + "\n")
        return
    for written, progress in reversed(found):
        console.print(
            f"[bold]{written.id}[/]  {_phase(progress, now)}  "
            f"[dim]{instant(written.at)} by {written.by}: {written.selection}[/]",
            highlight=False,
        )
    if not found:
        console.print("no replays", style="dim")


def _dry_run(chosen: "Selection", manner: "Manner", limit: int, *, as_json: bool) -> None:
    from worker.replay.desk import View  # noqa: PLC0415
    from worker.replay.run import propose  # noqa: PLC0415

    async def work(desk: "Desk") -> "tuple[Plan, View]":
        view = await desk.look()
        return propose(view, chosen, time.time(), vouch=manner.vouch), view

    made, view = with_desk(work)
    if as_json:
        sys.stdout.write(json.dumps(_plan_json(made)) + "\n")
        return
    from worker.entrypoints.cli.dlq import screens  # noqa: PLC0415

    if not made.steps:
        console.print("no such letters", highlight=False)
        return
    console.print(f"[bold]dry run[/] of a replay of {chosen}: nothing was changed\n")
    console.print(screens.plan(made, limit), highlight=False)
    if view.behind or view.elsewhere:
        console.print(screens.summary([step.case for step in made.steps], view), highlight=False)
    console.print("\n[dim]to do it, the same command with[/] --yes", highlight=False)


def _plan_json(made: "Plan") -> dict[str, Any]:
    from worker.entrypoints.cli.dlq.reading import letter_json  # noqa: PLC0415

    return {
        "cost_usd": made.known_cost_usd,
        "without_cost": made.without_cost,
        "skipping": list(made.skipping),
        "steps": [
            {
                **letter_json(step.case),
                "action": step.action.value,
                "why": step.why,
                "cost_usd": step.cost_usd,
                "newer_turns": step.newer_turns,
            }
            for step in made.steps
        ],
    }


def _carry_out(
    chosen: "Selection | None", manner: "Manner", resume: str | None, *, as_json: bool
) -> None:
    from worker.replay.run import Replayer  # noqa: PLC0415

    async def work(desk: "Desk") -> "Progress":
        with _bar(quiet=as_json) as shown:
            replayer = Replayer(desk, shown)
            if chosen is None:
                return await replayer.resume(resume or "", manner)
            return await replayer.begin(chosen, manner)

    progress = with_desk(work, sends=True, acts=True)
    if as_json:
        sys.stdout.write(json.dumps(_row(progress)) + "\n")
    else:
        _tell(progress)
    if progress.failed or progress.phase == "cancelled":
        raise typer.Exit(5)


def _tell(progress: "Progress") -> None:
    parts = [f"{progress.sent} sent", f"{progress.archived} archived", f"{progress.left} stay"]
    if progress.failed:
        parts.append(f"{progress.failed} not done")
    console.print(
        f"[bold]{progress.replay}[/] {progress.phase.value}: {', '.join(parts)}", highlight=False
    )
    if progress.error:
        errors.print("[yellow]the last that could not be done:[/] ", end="")
        errors.print(progress.error, markup=False, highlight=False, soft_wrap=True)
    if progress.failed or progress.phase == "cancelled":
        console.print(
            f"[dim]to do the rest:[/] agent-worker dlq replay --resume {progress.replay}",
            highlight=False,
        )


def _follow(name: str, *, as_json: bool) -> None:
    from worker.replay.journal import ReplayJournal  # noqa: PLC0415

    async def work(desk: "Desk") -> "Progress | None":
        journal = ReplayJournal(desk.ports)
        with _bar(quiet=as_json) as shown:
            while True:
                progress = await journal.progress(name)
                if progress is None:
                    return None
                shown(progress)
                if as_json:
                    sys.stdout.write(json.dumps(_row(progress)) + "\n")
                    sys.stdout.flush()
                now = desk.ports.clock.now()
                if progress.phase not in {"running", "paused"} or progress.silent(now):
                    return progress
                await desk.ports.clock.sleep(WATCH_SECONDS)

    progress = with_desk(work)
    if progress is None or progress.silent(time.time()):
        since = f" for {ago(progress.at, time.time()).removesuffix(' ago')}" if progress else ""
        fail(
            f"nothing was heard of {name}{since}: it was most likely killed; "
            f"`agent-worker dlq replay --resume {name}` goes on with it"
        )
    if not as_json:
        _tell(progress)


@contextmanager
def _bar(*, quiet: bool) -> "Iterator[Watcher]":
    """A progress bar on the terminal; lines where there is none."""
    from rich import progress as rich_progress  # noqa: PLC0415

    if quiet:
        yield lambda _: None
        return
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[note]}"),
    )
    with rich_progress.Progress(*columns, console=errors, transient=True) as bar:
        row = bar.add_task("replay", total=None, note="")

        def shown(progress: "Progress") -> None:
            note = progress.phase.value
            if progress.rate is not None:
                note += f", {progress.rate:g}/s"
            bar.update(
                row,
                description=progress.replay,
                total=progress.total,
                completed=progress.done,
                note=note,
            )

        yield shown


async def _named(desk: "Desk", replay: str | None) -> str:
    from worker.replay.journal import ReplayJournal  # noqa: PLC0415

    names = await ReplayJournal(desk.ports).names()
    name = replay or (names[-1] if names else "")
    if name not in names:
        fail(f"there is no replay {name}; `agent-worker dlq replays` lists them")
    return name


def _phase(progress: "Progress | None", now: float) -> str:
    if progress is None:
        return "[yellow]planned[/]"
    done = f"{progress.done}/{progress.total}"
    if progress.silent(now):
        return f"[red]silent[/] {done}"
    return f"{progress.phase.value} {done}"


def _row(progress: "Progress | None") -> dict[str, Any] | None:
    return None if progress is None else {**asdict(progress), "at": iso(progress.at)}


def _per_second(text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/([smh]))?", text.strip())
    if found is None or float(found[1]) <= 0:
        raise typer.BadParameter(
            f"{text!r} is no rate; use 5/s, 60/m or 1000/h", param_hint="--rate"
        )
    return float(found[1]) / {"s": 1, "m": 60, "h": 3600}[found[2] or "s"]
