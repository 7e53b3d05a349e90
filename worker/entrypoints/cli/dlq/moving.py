"""`dlq export` and `dlq import`: letters as lines of JSON."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.entrypoints.cli.dlq.common import (
    Chat,
    Group,
    Ids,
    Newer,
    Older,
    Reason,
    Tenant,
    Yes,
    selection,
    with_desk,
)
from worker.entrypoints.cli.output import errors, fail

if TYPE_CHECKING:
    from worker.replay.desk import Desk
    from worker.replay.letter import Letter


def export(
    ids: Ids = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; standard output if left out.")
    ] = None,
    group: Group = None,
    reason: Reason = None,
    chat: Chat = None,
    tenant: Tenant = None,
    older: Older = None,
    newer: Newer = None,
) -> None:
    """Write letters as lines of JSON, without tokens; they stay in the queue.

    The messages' texts are in it. `import` makes the same letters of it, byte for byte.
    """
    from worker.replay.record import letter_record  # noqa: PLC0415

    chosen = selection(ids, group, reason, chat, tenant, older, newer)

    async def work(desk: "Desk") -> list[str]:
        cases = chosen.of((await desk.look()).cases, time.time())
        lines = [json.dumps(letter_record(case.letter), ensure_ascii=False) for case in cases]
        return [line + "\n" for line in lines]

    lines = with_desk(work)
    if output is None:
        sys.stdout.writelines(lines)
    else:
        try:
            with output.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(lines)
        except OSError as exc:
            fail(f"{output} cannot be written: {exc}")
    errors.print(f"exported: {len(lines)}", highlight=False)


def import_letters(
    file: Annotated[Path, typer.Argument(help="What export wrote; '-' reads standard input.")],
    yes: Yes = False,
) -> None:
    """Put exported letters into the dead-letter queue. One that is there already is not doubled.

    Lines are checked before anything is put in.
    """
    from worker.replay.record import MalformedLetterError, letter_of  # noqa: PLC0415

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        fail(f"{file} cannot be read: {exc}")
    letters, problems = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            letters.append(letter_of(json.loads(line)))
        except MalformedLetterError as exc:
            problems.append(f"line {number}: {exc}")
        except (ValueError, AttributeError, TypeError):
            problems.append(f"line {number}: is not a JSON object")
    if problems:
        more = f"\nand {len(problems) - 10} more" if len(problems) > 10 else ""  # noqa: PLR2004
        fail("\n".join(problems[:10]) + more + "\nnothing was put in")

    async def work(desk: "Desk") -> "list[Letter]":
        there = {(c.letter.id, c.letter.origin.version) for c in (await desk.look()).cases}
        new = [x for x in letters if (x.id, x.origin.version) not in there]
        if yes and new:
            await desk.put_in(new, str(file))
        return new

    new = with_desk(work, acts=yes)
    what = "imported" if yes else "would import"
    errors.print(f"{what}: {len(new)}; there already: {len(letters) - len(new)}", highlight=False)
    if not yes and new:
        errors.print("--yes does it", highlight=False)
