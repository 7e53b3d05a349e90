"""How a webhook command reaches subscriptions and queue, by the environment."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from worker.entrypoints.cli.output import fail

if TYPE_CHECKING:
    from worker.webhook_bootstrap import Webhooks

T = TypeVar("T")

Id = Annotated[str, typer.Argument(help="The subscription's id: wh_...", metavar="ID")]


def with_webhooks(work: "Callable[[Webhooks], Awaitable[T]]") -> T:
    """Run `work`. What goes wrong ends the command, plainly: exit status 2 for the configuration,
    1 for what was asked for or what AWS says.
    """
    from worker.adapters.webhook_sender import NotSentError  # noqa: PLC0415
    from worker.domain.errors import SettingsError, WorkerError  # noqa: PLC0415
    from worker.webhook_bootstrap import build_webhooks  # noqa: PLC0415

    async def call() -> T:
        webhooks = build_webhooks(os.environ, threads=8)
        try:
            return await work(webhooks)
        finally:
            await webhooks.close()

    try:
        return asyncio.run(call())
    except SettingsError as exc:
        fail(f"{exc}\nload the stack's settings: see docs/configuration.md", code=2)
    except (WorkerError, NotSentError) as exc:
        fail(str(exc))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
