"""`run`: the long-running host."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from worker.bootstrap import Worker
    from worker.webhook_bootstrap import Webhooks


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

    try:
        # A slot holds one thread while it polls; turns need some beside it.
        worker = build(threads=concurrency * 3 + 8)
        webhooks = _webhooks(worker)
    except SettingsError as exc:
        from worker.entrypoints.cli.output import fail  # noqa: PLC0415

        fail(str(exc), code=2)
    harden()
    asyncio.run(serve(worker, concurrency, webhooks))


def _webhooks(worker: "Worker") -> "Webhooks | None":
    from worker.webhook_settings import WebhookSettings  # noqa: PLC0415

    if not WebhookSettings.wanted(os.environ):
        return None
    from worker.webhook_bootstrap import build_webhooks  # noqa: PLC0415

    return build_webhooks(journal=worker.ports.journal, beside=worker.aws)
