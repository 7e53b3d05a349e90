"""The command line. Only the module of the command that is asked for is imported, and each command
imports what it needs when it runs: so `run` starts at once, and `--help` answers at once.
"""

import sys
from importlib import import_module

import typer

COMMANDS = {
    "run": "host",
    "send": "messages",
    "tail": "messages",
    "up": "stack",
    "down": "stack",
    "status": "status",
    "doctor": "doctor",
}
GROUPS = ("jobs", "sessions", "dlq", "webhooks")

HELP = """Run Claude agents behind a chat bot.

[bold]Try it[/bold], without an account or a key:

    agent-worker up --detach --env-file local.env
    set -a; . ./local.env; set +a
    agent-worker run &
    agent-worker send --chat 1 --wait "hello"
    agent-worker down

`run` and `send` are configured by the environment alone: see docs/configuration.md."""


def command_line(wanted: str | None = None) -> typer.Typer:
    """With the command or group `wanted`; with all of them when it is none of them."""
    app = typer.Typer(
        name="agent-worker",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help=HELP,
    )
    app.callback()(lambda: None)  # so that a single command is still named
    known = wanted in COMMANDS or wanted in GROUPS
    for name, module in COMMANDS.items():
        if wanted == name or not known:
            app.command(name)(getattr(import_module(f"{__name__}.{module}"), name))
    for name in GROUPS:
        if wanted == name or not known:
            app.add_typer(import_module(f"{__name__}.{name}").app, name=name)
    return app


def main() -> None:
    """The console script."""
    command_line(next(iter(sys.argv[1:]), None))()
