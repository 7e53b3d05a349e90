"""`doctor`: is everything there that a worker needs?"""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from worker.entrypoints.cli.output import Json, console
from worker.entrypoints.cli.words import counted

if TYPE_CHECKING:
    from worker.operations.doctor.finding import Finding

_MARKS = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "problem": ("✗", "bold red"),
    "unchecked": ("?", "dim"),
}


def doctor(
    model_call: Annotated[
        bool,
        typer.Option(
            "--model-call", help="Also ask the model one short question, which costs a little."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show only problems and warnings.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Examine configuration, AWS, this machine and the model; say what to do about each problem.

    Changes nothing, and sends nothing to anybody. It has the rights of whoever runs it: run it as
    the worker to see whether the worker's suffice. Exit status: 0 no problem (warnings do not
    count), 1 problems.
    """
    findings = asyncio.run(_examine(model_call=model_call))
    problems = [finding for finding in findings if finding.level == "problem"]
    if as_json:
        shown = {"ok": not problems, "findings": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(shown) + "\n")
    else:
        _print(findings, quiet=quiet)
    if problems:
        raise typer.Exit(1)


async def _examine(*, model_call: bool) -> "list[Finding]":
    from worker.adapters.aws import Aws  # noqa: PLC0415
    from worker.operations.doctor.examine import examine  # noqa: PLC0415
    from worker.operations.doctor.model_call import call_model  # noqa: PLC0415

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    aws = Aws(threads=16, region=region)
    try:
        findings = await examine(os.environ, aws)
    finally:
        aws.close()
    return [*findings, await call_model(os.environ)] if model_call else findings


def _print(findings: "list[Finding]", *, quiet: bool) -> None:
    areas: dict[str, list[Finding]] = {}
    for finding in findings:
        if not quiet or finding.level in {"problem", "warning"}:
            areas.setdefault(finding.area, []).append(finding)
    for area, found in areas.items():
        console.print(Text(area, style="bold"))
        for finding in found:
            mark, style = _MARKS[finding.level]
            console.print(
                Padding(Text(f"{mark} {finding.text}", style=style), (0, 0, 0, 2)), highlight=False
            )
            if finding.remedy:
                console.print(Padding(Text(f"→ {finding.remedy}"), (0, 0, 0, 4)), highlight=False)
    counts = [
        counted(number, noun)
        for level, noun in (("problem", "problem"), ("warning", "warning"))
        if (number := sum(finding.level == level for finding in findings))
    ]
    unknown = sum(finding.level == "unchecked" for finding in findings)
    said = ", ".join(counts) or "no problem"
    console.print(f"\n[bold]{said}[/]; {unknown} not checked", highlight=False)
