"""What the dlq commands share: options that select letters, and how they reach the desk."""

import os
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from worker.entrypoints.cli.connection import connected

if TYPE_CHECKING:
    from worker.adapters.aws import Aws
    from worker.replay.case import Selection
    from worker.replay.desk import Desk
    from worker.settings import Resources

T = TypeVar("T")

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}

Ids = Annotated[
    list[str] | None,
    typer.Argument(help="Letters: an id, its first characters, or a job id.", show_default=False),
]
Group = Annotated[str | None, typer.Option(help="Only of this group of `dlq list`.")]
Reason = Annotated[
    str | None, typer.Option(help="Only with this reason, such as model_error or redriven_by_sqs.")
]
Chat = Annotated[
    str | None,
    typer.Option(help="Only of this chat: its message group, as 123 or acme/123:4."),
]
Tenant = Annotated[str | None, typer.Option(help="Only of this tenant.")]
Older = Annotated[str | None, typer.Option(help="Only dead for at least: 90s, 30m, 2h, 3d.")]
Newer = Annotated[str | None, typer.Option(help="Only dead for at most: 90s, 30m, 2h, 3d.")]
Everything = Annotated[bool, typer.Option("--all", help="All letters there are.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without it nothing is changed.")]


def with_desk(
    work: "Callable[[Desk], Awaitable[T]]",
    *,
    sends: bool = False,
    acts: bool = False,
) -> T:
    """Run `work` at a desk made by the environment."""
    from worker.operations.dlq import open_desk  # noqa: PLC0415

    async def call(_: "Resources", aws: "Aws") -> T:
        return await work(await open_desk(aws, os.environ, sends=sends, acts=acts))

    return connected(call, threads=24)


def selection(
    ids: list[str] | None,
    group: str | None = None,
    reason: str | None = None,
    chat: str | None = None,
    tenant: str | None = None,
    older: str | None = None,
    newer: str | None = None,
) -> "Selection":
    from worker.replay.case import Selection  # noqa: PLC0415

    return Selection(
        ids=tuple(ids or ()),
        group=group,
        reason=reason,
        chat=chat,
        tenant=tenant,
        older=seconds_of("--older", older),
        newer=seconds_of("--newer", newer),
    )


def narrowed(chosen: "Selection", everything: bool) -> "Selection":
    """Refuse to act on all letters unless that was said."""
    if chosen.everything and not everything:
        raise typer.BadParameter(
            "name letters: ids, --group, --reason, --chat, --tenant, --older, --newer; or --all"
        )
    return chosen


def seconds_of(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is no length of time; use 90s, 30m, 2h or 3d", param_hint=option
        )
    return float(found[1]) * _UNITS[found[2]]
