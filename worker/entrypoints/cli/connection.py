"""How an operator's command reaches the stack: its resources by the environment, one client."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from worker.entrypoints.cli.output import fail

if TYPE_CHECKING:
    from worker.adapters.aws import Aws
    from worker.settings import Resources

T = TypeVar("T")


def connected(work: "Callable[[Resources, Aws], Awaitable[T]]", *, threads: int = 16) -> T:
    """Run `work` with the stack's resources. What goes wrong outside ends the command, plainly:
    exit status 2 for the configuration, 1 for what AWS says.
    """
    from worker.adapters.aws import Aws  # noqa: PLC0415
    from worker.domain.errors import SettingsError, WorkerError  # noqa: PLC0415
    from worker.settings import Resources  # noqa: PLC0415

    async def call() -> T:
        resources = Resources.from_env(os.environ)
        aws = Aws(threads=threads, region=resources.region)
        try:
            return await work(resources, aws)
        finally:
            aws.close()

    try:
        return asyncio.run(call())
    except SettingsError as exc:
        fail(f"{exc}\nload the stack's settings: see docs/configuration.md", code=2)
    except WorkerError as exc:
        fail(str(exc))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
