"""`dlq list`, `dlq show` and `dlq audit`: looking, which changes nothing."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.entrypoints.cli.dlq.common import (
    Chat,
    Group,
    Newer,
    Older,
    Reason,
    Tenant,
    selection,
    with_desk,
)
from worker.entrypoints.cli.output import Json, console, fail
from worker.entrypoints.cli.words import instant, iso

if TYPE_CHECKING:
    from worker.domain.timeline import JobDetails
    from worker.replay.case import Case
    from worker.replay.desk import Desk, View
    from worker.replay.record import ArchivedLetter


def list_letters(
    group: Group = None,
    reason: Reason = None,
    chat: Chat = None,
    tenant: Tenant = None,
    older: Older = None,
    newer: Newer = None,
    letters: Annotated[
        bool, typer.Option("--letters", help="Letter by letter instead of by kind of failure.")
    ] = False,
    archived: Annotated[
        bool, typer.Option("--archived", help="What is in the archive instead.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Letters to print.")] = 50,
    as_json: Json = False,
) -> None:
    """List dead letters, grouped by kind of failure: what, how many, since when, in which chats.

    Reading hides the letters from other readers while it lasts, and shows them
    again at its end; nothing is moved or deleted. With --json the object has
    `groups` or `letters`, and how many could not be seen.
    """
    from worker.replay.case import grouped  # noqa: PLC0415

    if archived:
        _archived(limit, as_json=as_json)
        return
    chosen = selection(None, group, reason, chat, tenant, older, newer)

    async def work(desk: "Desk") -> "View":
        return await desk.look()

    view, now = with_desk(work), time.time()
    cases = chosen.of(view.cases, now)
    if as_json:
        found: dict[str, Any] = {"behind": view.behind, "elsewhere": view.elsewhere}
        if letters:
            found["letters"] = [letter_json(case) for case in cases]
        else:
            found["groups"] = [
                {
                    "group": kind.name,
                    "reason": kind.reason,
                    "error": kind.error,
                    "letters": kind.letters,
                    "chats": kind.chats,
                    "first": iso(kind.first),
                    "last": iso(kind.last),
                }
                for kind in grouped(cases)
            ]
        sys.stdout.write(json.dumps(found) + "\n")
        return
    from worker.entrypoints.cli.dlq import screens  # noqa: PLC0415

    if not cases:
        console.print("no dead letters" if chosen.everything else "no such dead letters")
        console.print(screens.summary((), view) if view.behind or view.elsewhere else "")
        return
    shown = (
        screens.letters(cases, view, now, limit) if letters else screens.groups(cases, view, now)
    )
    console.print(shown, highlight=False)
    if not letters:
        name = grouped(cases)[0].name
        console.print(f"\n[dim]what a replay would do:[/] agent-worker dlq replay --group {name}")


def show(
    letter: Annotated[
        str, typer.Argument(help="A letter's id, its first characters, or a job id.")
    ],
    as_json: Json = False,
) -> None:
    """Show one letter: its message, why it died, and all that happened to its job.

    What looks like a secret is hidden. The message's text is shown.
    """

    async def work(desk: "Desk") -> "tuple[Case, list[ArchivedLetter]]":
        view = await desk.look()
        found = selection([letter]).of(view.cases, time.time())
        if len(found) > 1:
            fail(f"{letter!r} has several letters: {', '.join(c.letter.id for c in found)}")
        [case] = found
        earlier = await desk.archive(case.letter)
        return case, earlier

    case, earlier = with_desk(work)
    job = _job(case)
    if as_json:
        from worker.entrypoints.cli.history import job_json, time_line_json  # noqa: PLC0415

        shown = letter_json(case) | {
            "attributes": _attributes(case),
            "body": _body(case),
            "job": job and job_json(job) | {"timeline": time_line_json(job)},
            "earlier_versions": [{"why": k.why, "by": k.by, "at": iso(k.at)} for k in earlier],
        }
        sys.stdout.write(json.dumps(shown) + "\n")
        return
    from worker.entrypoints.cli.dlq import portrait  # noqa: PLC0415

    console.print(
        portrait.letter(case, _attributes(case), _body(case), job, earlier, time.time()),
        highlight=False,
    )


def audit(
    replay: Annotated[str | None, typer.Option(help="Only of this replay.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what operators did: who, when, what, to which letters, and from where."""

    async def work(desk: "Desk") -> list[dict[str, Any]]:
        return await desk.audits()

    entries = [e for e in with_desk(work) if replay is None or e["replay"] == replay]
    if as_json:
        for entry in entries:
            sys.stdout.write(json.dumps({**entry, "at": iso(entry["at"])}) + "\n")
        return
    for entry in entries:
        letters, name = entry["letters"], entry["replay"]
        console.print(
            f"[dim]{instant(entry['at'])}[/] [bold]{entry['what']}[/] by {entry['by']} "
            f"[dim]({entry['from']})[/]",
            highlight=False,
        )
        parts = [name, entry["detail"]]
        if letters:
            jobs = ", ".join(item["job"] for item in letters[:5])
            parts.append(f"{len(letters)} letters: {jobs}" + (" ..." if len(letters) > 5 else ""))  # noqa: PLR2004
        console.print("    " + "; ".join(part for part in parts if part), markup=False)


def letter_json(case: "Case") -> dict[str, Any]:
    """A letter for scripts: no body, no attributes."""
    letter = case.letter
    return {
        "letter": letter.id,
        "version": letter.origin.version,
        "group": case.group,
        "reason": case.reason,
        "error": case.error,
        "since": iso(letter.since),
        "chat": letter.chat,
        "tenant_id": letter.tenant,
        "job_id": letter.job_id,
        "job_state": case.record.state.value if case.record else None,
        "attempt": letter.attempt,
        "authorized": letter.origin.authentic,
    }


def _archived(limit: int, *, as_json: bool) -> None:
    async def work(desk: "Desk") -> "list[ArchivedLetter]":
        return await desk.archive()

    kept = with_desk(work)
    if as_json:
        rows = [
            {
                "letter": item.letter.id,
                "version": item.letter.origin.version,
                "job_id": item.letter.job_id,
                "chat": item.letter.chat,
                "why": item.why,
                "by": item.by,
                "at": iso(item.at),
            }
            for item in kept
        ]
        sys.stdout.write(json.dumps({"archived": rows}) + "\n")
        return
    from worker.entrypoints.cli.dlq import portrait  # noqa: PLC0415

    console.print(portrait.archive(kept, time.time(), limit), highlight=False)


def _job(case: "Case") -> "JobDetails | None":
    """The job that the failure was recorded for, with its history."""
    from worker.entrypoints.cli.connection import connected  # noqa: PLC0415
    from worker.operations.jobs import JobBook  # noqa: PLC0415

    async def work(resources: Any, aws: Any) -> "JobDetails | None":  # noqa: ANN401 - see connected
        book = JobBook(aws, resources.job_table)
        return await book.get(case.letter.recorded_job_id) or await book.get(case.letter.job_id)

    return connected(work)


def _attributes(case: "Case") -> dict[str, str]:
    from worker.entrypoints.cli.dlq.redaction import redacted  # noqa: PLC0415

    return {name: redacted(text, name) for name, text in sorted(case.letter.attributes.items())}


def _body(case: "Case") -> Any:  # noqa: ANN401 - any JSON
    """The message as JSON if it is, else as text."""
    from worker.entrypoints.cli.dlq.redaction import redacted, redacted_text  # noqa: PLC0415

    try:
        return redacted(json.loads(case.letter.body))
    except ValueError:
        return redacted_text(case.letter.body)
