"""The command line. Each command imports what it needs, so that `--help` answers at once."""

import typer

from worker.entrypoints.cli import (
    dlq,
    doctor,
    host,
    jobs,
    messages,
    sessions,
    stack,
    status,
    webhooks,
)

app = typer.Typer(
    name="agent-worker",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Run Claude agents behind a chat bot.

[bold]Try it[/bold], without an account or a key:

    agent-worker up --detach --env-file local.env
    set -a; . ./local.env; set +a
    agent-worker run &
    agent-worker send --chat 1 --wait "hello"
    agent-worker down

`run` and `send` are configured by the environment alone: see docs/configuration.md.""",
)
for command in (
    *(host.run, messages.send, messages.tail, stack.up, stack.down),
    *(status.status, doctor.doctor),
):
    app.command()(command)
app.add_typer(jobs.app, name="jobs")
app.add_typer(sessions.app, name="sessions")
app.add_typer(dlq.app, name="dlq")
app.add_typer(webhooks.app, name="webhooks")


def main() -> None:
    """The console script."""
    app()
