"""`dlq edit`, `dlq discard` and `dlq restore`."""

import difflib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.syntax import Syntax

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
from worker.entrypoints.cli.output import console, errors, fail

if TYPE_CHECKING:
    from worker.replay.case import Case, Selection
    from worker.replay.desk import Desk
    from worker.replay.letter import Letter

SHOWN_CHANGES = 3

Change = Callable[[str], str]
"""From a body to the corrected one; raises ValueError with the reason where it cannot."""


def edit(
    ids: Ids = None,
    group: Group = None,
    reason: Reason = None,
    chat: Chat = None,
    tenant: Tenant = None,
    older: Older = None,
    newer: Newer = None,
    everything: Everything = False,
    patch: Annotated[
        str | None,
        typer.Option(help="A JSON Patch (RFC 6902) for each message, or a file that has one."),
    ] = None,
    body: Annotated[
        Path | None, typer.Option(help="A file with the whole message; '-' reads standard input.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Correct the messages of letters: one in $EDITOR, or any number by a JSON Patch.

    The result must be what the contract takes, or the letter stays as it is.
    The corrected letter takes the place of the other, with the same id and the
    next version; the one before goes into the archive. Nothing is sent: replay
    it then.

    agent-worker dlq edit --group 8c1f20 --patch fix.json
    where fix.json has {"op": "move", "from": "/user_mesage", "path":
    "/user_message"} in brackets.
    """
    if patch is not None and body is not None:
        raise typer.BadParameter("give --patch or --body, not both")
    chosen = narrowed(selection(ids, group, reason, chat, tenant, older, newer), everything)
    cases = _chosen(chosen)
    if patch is not None:
        change = _patching(patch)
    else:
        if len(cases) != 1:
            fail(f"{len(cases)} letters are meant; without --patch one at a time can be edited")
        text = _text_of(body) if body is not None else _edited(cases[0])
        change = lambda _: text  # noqa: E731 - one body for the one letter
    edits, refused = _changed(cases, change)
    for case, why in refused:
        errors.print(f"[yellow]stays:[/] letter {case.letter.id[:8]}: ", end="", highlight=False)
        errors.print(why, markup=False, highlight=False, soft_wrap=True)
    if not edits:
        fail("nothing to change")
    _show_changes(edits)
    if not yes and (patch is not None or not _confirmed()):
        console.print(f"\nnothing was changed; --yes corrects {len(edits)}", highlight=False)
        return
    gone = _write({case.letter.message_id: text for case, text in edits})
    console.print(f"corrected: {len(edits) - len(gone)}", highlight=False)
    if gone:
        fail(_taken(gone, "their new versions are in the queue, and count"))


def discard(
    reason_given: Annotated[
        str, typer.Option("--why", help="Why; it is kept with the letters and in the audit.")
    ],
    ids: Ids = None,
    group: Group = None,
    reason: Reason = None,
    chat: Chat = None,
    tenant: Tenant = None,
    older: Older = None,
    newer: Newer = None,
    everything: Everything = False,
    yes: Yes = False,
) -> None:
    """Move letters into the archive: they leave the queue, and can be restored.

    agent-worker dlq discard --group 8c1f20 --why "our load test" --yes
    """
    if not reason_given.strip():
        raise typer.BadParameter("say why, for whoever asks later", param_hint="--why")
    chosen = narrowed(selection(ids, group, reason, chat, tenant, older, newer), everything)
    if not yes:
        cases = _chosen(chosen)
        chats = len({case.letter.chat for case in cases})
        console.print(
            f"would discard {len(cases)} letters of {chats} chats ({chosen}); --yes does it",
            highlight=False,
        )
        return

    async def work(desk: "Desk") -> "tuple[int, list[Letter]]":
        async with desk.hold() as held:
            cases = chosen.of(held.view.cases, time.time())
            ids = {case.letter.id for case in cases}
            copies = [copy for copy in held.view.copies if copy.letter.id in ids]
            await held.keep_only([*cases, *copies])
            # Older copies first: the archive then holds the latest of a version.
            gone = await desk.discard(held, [*copies, *cases], reason_given)
            return len(cases), gone

    number, gone = with_desk(work, acts=True)
    console.print(f"discarded: {number - len(gone)}", highlight=False)
    if gone:
        fail(_taken(gone, "they are in the archive, too"))


def restore(
    ids: Annotated[
        list[str], typer.Argument(help="Archived letters: ids, their beginnings, or job ids.")
    ],
    version: Annotated[
        int | None, typer.Option(help="This version of the letter; the latest if left out.")
    ] = None,
) -> None:
    """Put letters from the archive back into the dead-letter queue.

    `agent-worker dlq list --archived` lists them.
    """

    async def work(desk: "Desk") -> list[str]:
        kept = await desk.archive()
        restored = []
        for name in ids:
            fitting = [
                item
                for item in kept
                if name == item.letter.job_id or (len(name) > 3 and item.letter.id.startswith(name))  # noqa: PLR2004
                if version is None or item.letter.origin.version == version
            ]
            letters = {item.letter.id for item in fitting}
            if len(letters) != 1:
                what = f"several letters: {', '.join(sorted(letters))}" if letters else "none"
                fail(f"{name!r} names {what} in the archive; `dlq list --archived` lists them")
            latest = max(fitting, key=lambda item: item.letter.origin.version)
            await desk.restore(latest)
            restored.append(latest.letter.id)
        return restored

    for letter in with_desk(work, acts=True):
        console.print(f"restored [bold]{letter}[/]", highlight=False)


def _chosen(chosen: "Selection") -> "list[Case]":
    async def work(desk: "Desk") -> "list[Case]":
        return chosen.of((await desk.look()).cases, time.time())

    cases = with_desk(work)
    if not cases:
        fail("no such letters")
    return cases


def _patching(given: str) -> Change:
    import jsonpatch  # noqa: PLC0415
    from jsonpointer import JsonPointerException  # noqa: PLC0415

    text = given if given.lstrip().startswith("[") else _text_of(Path(given))
    try:
        patch = jsonpatch.JsonPatch.from_string(text)
    except (ValueError, TypeError, jsonpatch.JsonPatchException, JsonPointerException) as exc:
        fail(f"--patch: is no JSON Patch (RFC 6902): {exc}")

    def change(body: str) -> str:
        try:
            return _compact(patch.apply(json.loads(body)))
        except (jsonpatch.JsonPatchException, JsonPointerException) as exc:
            raise ValueError(f"the patch does not fit: {exc}") from exc
        except ValueError as exc:
            raise ValueError("the body is not JSON; edit this letter alone") from exc

    return change


def _changed(
    cases: "Sequence[Case]", change: Change
) -> "tuple[list[tuple[Case, str]], list[tuple[Case, str]]]":
    """Corrections that the contract takes, and letters that stay, with why."""
    from contracts import InvalidRequest, JobRequest  # noqa: PLC0415

    edits, refused = [], []
    for case in cases:
        try:
            body = change(case.letter.body)
            JobRequest.parse(body)
        except InvalidRequest as exc:
            refused.append((case, f"would be rejected again: {exc}"))
        except ValueError as exc:
            refused.append((case, str(exc)))
        else:
            if body == case.letter.body:
                refused.append((case, "it is as before"))
            else:
                edits.append((case, body))
    return edits, refused


def _show_changes(edits: "Sequence[tuple[Case, str]]") -> None:
    for case, body in edits[:SHOWN_CHANGES]:
        console.print(
            f"[bold]{case.letter.id[:8]}[/] [dim]chat {case.letter.chat}, {case.letter.job_id}[/]",
            highlight=False,
        )
        lines = difflib.unified_diff(
            _shown(case.letter.body).splitlines(), _shown(body).splitlines(), lineterm="", n=1
        )
        console.print(Syntax("\n".join(list(lines)[2:]), "diff", background_color="default"))
    if len(edits) > SHOWN_CHANGES:
        console.print(f"and {len(edits) - SHOWN_CHANGES} more like these", highlight=False)


def _write(bodies: dict[str, str]) -> "list[Letter]":
    async def work(desk: "Desk") -> "list[Letter]":
        async with desk.hold() as held:
            cases = [case for case in held.view.cases if case.letter.message_id in bodies]
            await held.keep_only(cases)
            missing = len(bodies) - len(cases)
            gone = await desk.edit(held, [(c, bodies[c.letter.message_id]) for c in cases])
            if missing:
                fail(
                    f"{missing} letters are not in the queue just now: another reader holds or "
                    "took them; the others were corrected"
                )
            return gone

    return with_desk(work, acts=True)


def _edited(case: "Case") -> str:
    """What the operator makes of the body in an editor."""
    from contracts import InvalidRequest, JobRequest  # noqa: PLC0415

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    text = _pretty(case.letter.body)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{case.letter.id[:8]}.json"
        path.write_text(text + "\n", encoding="utf-8")
        while True:
            subprocess.run([*shlex.split(editor), str(path)], check=True)  # noqa: S603 - their own editor
            new = path.read_text(encoding="utf-8")
            if new.strip() == text.strip():
                fail("nothing was changed")
            try:
                JobRequest.parse(new)
            except InvalidRequest as exc:
                errors.print("[yellow]the contract does not take it:[/] ", end="")
                errors.print(str(exc), markup=False, highlight=False, soft_wrap=True)
                if not sys.stdin.isatty() or not typer.confirm("edit it again?", default=True):
                    fail("nothing was changed")
            else:
                return _compact(json.loads(new))


def _confirmed() -> bool:
    return sys.stdin.isatty() and typer.confirm("\nput it in the letter's place?")


def _text_of(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        fail(f"{path} cannot be read: {exc}")


def _pretty(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


def _shown(body: str) -> str:
    from worker.entrypoints.cli.dlq.redaction import redacted, redacted_text  # noqa: PLC0415

    try:
        return json.dumps(redacted(json.loads(body)), indent=2, ensure_ascii=False)
    except ValueError:
        return redacted_text(body)


def _compact(value: Any) -> str:  # noqa: ANN401 - any JSON
    return json.dumps(value, separators=(",", ":"))


def _taken(gone: "Sequence[Letter]", where: str) -> str:
    some = ", ".join(letter.id for letter in gone[:5])
    return f"{len(gone)} letters were taken by another reader meanwhile ({some}): {where}"
