"""`dlq`: the dead-letter workbench."""

import typer

from worker.entrypoints.cli.dlq import changing, moving, reading, replaying

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Look into dead letters, mend them, and send them again.

agent-worker dlq list                       what failed, by kind
agent-worker dlq show 3f2a9c1e              a letter and its job's history
agent-worker dlq edit 3f2a9c1e              correct it in $EDITOR
agent-worker dlq replay --group 8c1f20      what would happen: a dry run
agent-worker dlq replay --group 8c1f20 --yes

Looking changes nothing. What changes something first says what it would
do, and does it with --yes. Nothing is lost: what is discarded or replaced
goes into an archive, and all is in the audit. See docs/dead-letters.md.""",
)
app.command("list")(reading.list_letters)
app.command()(reading.show)
app.command()(changing.edit)
app.command()(replaying.replay)
app.command()(replaying.watch)
app.command()(replaying.replays)
app.command()(changing.discard)
app.command()(changing.restore)
app.command()(moving.export)
app.command("import")(moving.import_letters)
app.command()(reading.audit)
