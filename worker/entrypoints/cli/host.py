"""`run`: the long-running host."""

import os
from typing import Annotated

import typer

from worker.entrypoints.cli.output import fail


def run(
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Chats that are worked on at the same time.")
    ] = 4,
) -> None:
    """Work on the queue until SIGTERM or Ctrl-C, as a long-running host.

    On SIGTERM it takes no new message, lets running turns finish for DRAIN_SECONDS (25), and
    returns the others to the queue, to be continued. Where WEBHOOK_TABLE is set, it delivers
    webhooks as well.
    """
    import asyncio  # noqa: PLC0415

    from worker.bootstrap import build, harden  # noqa: PLC0415
    from worker.domain.errors import SettingsError  # noqa: PLC0415
    from worker.entrypoints.host import serve  # noqa: PLC0415
    from worker.webhook_bootstrap import build_webhooks  # noqa: PLC0415
    from worker.webhook_settings import WebhookSettings  # noqa: PLC0415

    try:
        # A slot holds one thread while it polls; turns need some beside it.
        worker = build(threads=concurrency * 3 + 8)
        wanted = WebhookSettings.wanted(os.environ)
        webhooks = build_webhooks(journal=worker.ports.journal) if wanted else None
    except SettingsError as exc:
        fail(str(exc), code=2)
    harden()
    asyncio.run(serve(worker, concurrency, webhooks))
