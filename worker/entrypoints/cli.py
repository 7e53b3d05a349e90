"""The command line. Each command imports what it needs, so that `--help` answers at once."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from contracts import Event

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
console = Console()
errors = Console(stderr=True)

STATE_DIR = Path(".agent-worker")
StateDir = Annotated[
    Path, typer.Option(help="Where the local stack keeps its state, logs and environment.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def main() -> None:
    """The console script."""
    app()


def _fail(text: str, code: int = 1) -> NoReturn:
    errors.print("[bold red]error:[/] ", end="")
    errors.print(text, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


@app.command()
def run(
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Chats that are worked on at the same time.")
    ] = 4,
) -> None:
    """Work on the queue until SIGTERM or Ctrl-C, as a long-running host.

    On SIGTERM it takes no new message, lets running turns finish for DRAIN_SECONDS (25), and
    returns the others to the queue, to be continued.
    """
    import asyncio  # noqa: PLC0415

    from worker.bootstrap import build  # noqa: PLC0415
    from worker.domain.errors import SettingsError  # noqa: PLC0415
    from worker.entrypoints.host import serve  # noqa: PLC0415

    try:
        # A slot holds one thread while it polls; turns need some beside it.
        worker = build(threads=concurrency * 3 + 8)
    except SettingsError as exc:
        _fail(str(exc), code=2)
    asyncio.run(serve(worker, concurrency))


@app.command()
def send(
    text: Annotated[str, typer.Argument(help="The user's message; '-' reads standard input.")],
    chat: Annotated[str, typer.Option(help="Chat id.")] = "1",
    thread: Annotated[str | None, typer.Option(help="Thread id within the chat.")] = None,
    model: Annotated[str | None, typer.Option(help="Alias or full model id.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new session.")] = False,
    job_id: Annotated[str | None, typer.Option(help="Sending it twice runs it once.")] = None,
    options: Annotated[
        str | None, typer.Option(help="The request's options, as JSON: '{\"max_turns\": 3}'.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for it.")] = 900.0,
    as_json: Json = False,
) -> None:
    """Put a message on the queue, as a bot does.

    Reads QUEUE_URL, and JOB_TABLE for --wait. Exit status: 0 sent (or answered), 1 not,
    3 answered with an error, 4 no result in time.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    from contracts import ContractError, Producer, ResultTimeout  # noqa: PLC0415

    fields: dict[str, object] = {
        "user_message": sys.stdin.read() if text == "-" else text,
        "chat_id": chat,
        "thread_id": thread,
        "model": model,
        "job_id": job_id,
        "session": "new" if new else "continue",
        "options": _json_object("--options", options) if options else None,
    }
    try:
        producer = Producer.from_env(os.environ)
        sent = producer.enqueue(**{name: item for name, item in fields.items() if item is not None})
        if not wait:
            _show_sent(sent.job_id, sent.message_group_id, as_json=as_json)
            return
        event = producer.wait(sent.job_id, timeout=timeout)
    except ResultTimeout as exc:
        _fail(str(exc), code=4)
    except (ContractError, BotoCoreError, ClientError) as exc:
        _fail(str(exc))
    _show_result(event, as_json=as_json)
    if event.data.is_error:
        raise typer.Exit(3)


@app.command()
def tail(as_json: Json = False) -> None:
    """Follow result events until Ctrl-C.

    Subscribes a temporary queue of its own to RESULT_TOPIC_ARN, so that it takes nothing from
    other subscribers, and removes it at the end.
    """
    from worker.entrypoints.tail import follow  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the queue is removed, too
    topic = os.environ.get("RESULT_TOPIC_ARN")
    if not topic:
        _fail("RESULT_TOPIC_ARN is not set; load the environment that `agent-worker up` wrote")
    errors.print("[dim]following result events; Ctrl-C ends it[/]", highlight=False)
    for event in follow(topic):
        if as_json:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()
        else:
            data = event["data"]
            text = data.get("error_message") or data.get("response") or ""
            console.print(
                f"[dim]{event['time'][11:19]}[/] [bold]{event['type'].rpartition('.')[2]:<9}[/] "
                f"chat {data.get('chat_id') or '?'} [dim]{data['job_id']}[/]",
                highlight=False,
            )
            console.print(f"         {text[:300]}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def up(
    env_file: Annotated[
        Path, typer.Option(help="Where to write the environment (KEY=VALUE lines).")
    ] = Path(".agent-worker/env"),
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready.")] = False,
    real: Annotated[
        bool,
        typer.Option(
            "--real", help="Use the real model of your ANTHROPIC_* or BEDROCK_* settings."
        ),
    ] = False,
    auth: Annotated[
        bool, typer.Option("--auth", help="Require a token of producers; the file has it.")
    ] = False,
    port: Annotated[int, typer.Option(help="The AWS emulator's port; 0: any free one.")] = 0,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Start a local stack: AWS emulator, resources, and a scripted model. Loopback only.

    The resources are made from infra/resources.yml, the same file that is deployed. No account
    and no key is needed; a real model is used only with --real.
    """
    from worker.local import stack  # noqa: PLC0415
    from worker.local.errors import LocalStackError  # noqa: PLC0415
    from worker.local.template import resources_template  # noqa: PLC0415

    def ready(running: stack.Stack) -> None:
        if running.was_up:
            console.print("the stack is up already", highlight=False)
        for service in running.services:
            console.print(f"[green]up[/] {service.name:<15} {service.url}", highlight=False)
        console.print(f"\nenvironment: [bold]{env_file}[/]. Next, in this shell:", highlight=False)
        console.print(f"    set -a; . {_shell_path(env_file)}; set +a", highlight=False)
        console.print("    agent-worker run", highlight=False)

    try:
        options = stack.Options(
            state_dir=state_dir,
            template=resources_template(),
            env_file=env_file,
            real=real,
            auth=auth,
            emulator_port=port,
        )
        if detach:
            ready(stack.up(options, progress=_progress))
        else:
            stack.run(options, ready, progress=_progress)
    except LocalStackError as exc:
        _fail(str(exc))


@app.command()
def down(state_dir: StateDir = STATE_DIR) -> None:
    """End the local stack that `up` started, and nothing else."""
    from worker.local.stack import down as end  # noqa: PLC0415

    ended = end(state_dir)
    console.print(f"ended: {', '.join(ended)}" if ended else "nothing was up", highlight=False)


def _progress(text: str) -> None:
    console.print(f"[dim]{text} ...[/]", highlight=False)


def _shell_path(path: Path) -> str:
    """As `.` finds it: a bare name would be looked up on PATH."""
    return str(path) if "/" in str(path) else f"./{path}"


def _show_sent(job_id: str, group: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"job_id": job_id, "message_group_id": group}) + "\n")
    else:
        console.print(f"sent [bold]{job_id}[/] to group {group}", highlight=False)


def _show_result(event: "Event", *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(event.model_dump_json() + "\n")
        return
    data = event.data
    if data.is_error:
        errors.print(f"[bold red]{event.type.rpartition('.')[2]}:[/] ", end="")
        errors.print(data.error_message, markup=False, highlight=False, soft_wrap=True)
    response = getattr(data, "response", None)
    if response:
        console.print(response, markup=False, highlight=False, soft_wrap=True)
    if note := getattr(data, "session_note", None):
        console.print(f"[yellow]note:[/] {note}", highlight=False)


def _json_object(option: str, text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as exc:
        _fail(f"{option}: {text!r} is not JSON: {exc}")
    if not isinstance(value, dict):
        _fail(f"{option}: {text!r} is not a JSON object")
    return value
