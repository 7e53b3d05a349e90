"""`status`: one screen for a person."""

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from worker.entrypoints.cli.connection import connected
from worker.entrypoints.cli.output import Json, console

if TYPE_CHECKING:
    from worker.adapters.aws import Aws
    from worker.operations.status import StatusBoard
    from worker.settings import Resources


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Show the whole stack on one screen: queues, running jobs, last results, failures, cost.

    Figures with a ~ are estimates of SQS or CloudWatch. Looking takes nothing from a queue and
    changes nothing. With --json --watch, one object per line.
    """
    from worker.domain.errors import UnavailableError  # noqa: PLC0415
    from worker.entrypoints.cli.status_screen import screen, status_json  # noqa: PLC0415

    async def once(resources: "Resources", aws: "Aws") -> None:
        seen = await _board(resources, aws).read(time.time())
        if as_json:
            sys.stdout.write(json.dumps(status_json(seen)) + "\n")
        else:
            console.print(screen(seen), highlight=False)

    async def again(resources: "Resources", aws: "Aws") -> None:
        board = _board(resources, aws)
        if as_json:
            while True:
                sys.stdout.write(json.dumps(status_json(await board.read(time.time()))) + "\n")
                sys.stdout.flush()
                await asyncio.sleep(every)
        shown: RenderableType = ""
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                try:
                    shown = screen(await board.read(time.time()))
                    live.update(shown, refresh=True)
                except UnavailableError as exc:
                    live.update(Group(Text(f"not current: {exc}", "red"), shown), refresh=True)
                await asyncio.sleep(every)

    connected(again if watch else once, threads=32)


def _board(resources: "Resources", aws: "Aws") -> "StatusBoard":
    from worker.operations.status import StatusBoard  # noqa: PLC0415
    from worker.webhook_settings import WebhookSettings  # noqa: PLC0415

    webhooks = None
    if WebhookSettings.wanted(os.environ):
        webhooks = WebhookSettings.from_env(os.environ)
    return StatusBoard(aws, resources, webhooks)
