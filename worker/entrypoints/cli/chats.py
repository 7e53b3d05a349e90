"""How commands name a chat, and how they ask before they change one."""

import sys
from typing import Annotated

import typer

from worker.entrypoints.cli.output import fail

Chat = Annotated[
    str, typer.Argument(help="The chat's id; or its key, such as acme/123:456, by itself.")
]
Thread = Annotated[str | None, typer.Option(help="The thread within the chat.")]
Tenant = Annotated[str | None, typer.Option(help="The chat's tenant; 'default' without it.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Also while a worker has the chat: what its turn has done so far is not committed, "
        "and its message runs again.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def key_of(chat: str, thread: str | None, tenant: str | None) -> str:
    """The key of a chat, given by its id or as the key itself."""
    from contracts import session_key  # noqa: PLC0415
    from contracts.addressing import DEFAULT_TENANT  # noqa: PLC0415

    # A chat's id is quoted in a key, so a "/" is only where the tenant ends.
    if "/" in chat and thread is None and tenant is None:
        return chat
    try:
        return session_key(chat, thread, tenant or DEFAULT_TENANT)
    except ValueError as exc:
        fail(str(exc), code=2)


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person; a script must say --yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail("nobody can be asked here; add --yes to do it", code=2)
    if not typer.confirm(question):
        fail("nothing was changed")
