"""One letter with its job's history, and the archive, on the screen."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from worker.domain.timeline import JobDetails
from worker.entrypoints.cli.dlq.screens import REASONS, counted
from worker.entrypoints.cli.history import facts, time_line
from worker.entrypoints.cli.words import ago, instant, shortened
from worker.replay.case import Case
from worker.replay.plan import plan
from worker.replay.record import ArchivedLetter


def letter(
    case: Case,
    attributes: Mapping[str, str],
    body: Any,  # noqa: ANN401 - any JSON
    job: JobDetails | None,
    earlier: Sequence[ArchivedLetter],
    now: float,
) -> RenderableType:
    parts: list[RenderableType] = [_facts(case, now), _heading("message")]
    text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
    parts.append(Text(text))
    parts.append(_heading("attributes"))
    table = _two_columns()
    for name, value in attributes.items():
        table.add_row(name, Text(value))
    parts.append(table)
    if earlier:
        parts.append(_heading("earlier versions, in the archive"))
        parts += [
            Text(f"version {k.letter.origin.version}: {k.why}, by {k.by}, {instant(k.at)}")
            for k in earlier
        ]
    parts.append(_heading("its job"))
    if job is None:
        parts.append(Text("no worker has a record of it: it never ran, or JOB_TTL_DAYS are over"))
    else:
        parts += [facts(job), Text(), time_line(job)]
    return Lines(*parts)


def archive(kept: Sequence[ArchivedLetter], now: float, limit: int) -> RenderableType:
    if not kept:
        return Text("nothing is in the archive")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("letter", "job", "chat", "why", "by"):
        table.add_column(name, overflow="fold", no_wrap=name == "letter")
    table.add_column("when", justify="right", no_wrap=True)
    for item in kept[:limit]:
        edited = f" v{item.letter.origin.version}" if item.letter.origin.version else ""
        table.add_row(
            Text(f"{item.letter.id[:8]}{edited}", style="bold"),
            Text(shortened(item.letter.job_id, 18)),
            Text(shortened(item.letter.chat, 14)),
            Text(item.why),
            item.by,
            ago(item.at, now),
        )
    total = Text(
        f"\n{counted(len(kept), 'archived letter')}; put one back: agent-worker dlq restore"
    )
    return Lines(table, total)


def _facts(case: Case, now: float) -> RenderableType:
    found = case.letter
    [step] = plan([case], [case]).steps
    table = _two_columns()
    version = f", version {found.origin.version}" if found.origin.version else ""
    table.add_row("letter", Text(f"{found.id}{version}", style="bold"))
    table.add_row("group", case.group)
    table.add_row("reason", Text(REASONS.get(case.reason, case.reason), style="red"))
    table.add_row("", Text(case.error))
    table.add_row("dead since", f"{instant(found.since)}, {ago(found.since, now)}")
    table.add_row("chat", Text(found.chat))
    table.add_row("job", Text(found.job_id))
    if not found.origin.authentic:
        table.add_row("sender", Text("was not authorized", style="yellow"))
    table.add_row("replay", f"would {step.action.value}: {step.why}")
    return table


def _two_columns() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")
