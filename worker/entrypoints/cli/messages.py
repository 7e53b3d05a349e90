"""`send` and `tail`: a bot's side of the queue."""

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from worker.entrypoints.cli.output import Json, console, errors, fail

if TYPE_CHECKING:
    from contracts import Event


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
    progress: Annotated[
        str | None,
        typer.Option(help="What `tail` then sees while the turn runs: none, steps or text."),
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
        "progress": progress,
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
        fail(str(exc), code=4)
    except (ContractError, BotoCoreError, ClientError) as exc:
        fail(str(exc))
    show_result(event, as_json=as_json)
    if event.data.is_error:
        raise typer.Exit(3)


def tail(as_json: Json = False) -> None:
    """Follow events until Ctrl-C: results, and the progress of jobs that ask for it.

    Subscribes a temporary queue of its own to RESULT_TOPIC_ARN, so that it takes nothing from
    other subscribers, and removes it at the end.
    """
    from worker.entrypoints.tail import follow  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the queue is removed, too
    topic = os.environ.get("RESULT_TOPIC_ARN")
    if not topic:
        fail("RESULT_TOPIC_ARN is not set; load the environment that `agent-worker up` wrote")
    errors.print("[dim]following result events; Ctrl-C ends it[/]", highlight=False)
    for event in follow(topic):
        if as_json:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()
        else:
            data = event["data"]
            told = ("error_message", "response", "summary", "text")
            text = next((data[name] for name in told if data.get(name)), "")
            console.print(
                f"[dim]{event['time'][11:19]}[/] [bold]{event['type'].rpartition('.')[2]:<9}[/] "
                f"chat {data.get('chat_id') or '?'} [dim]{data['job_id']}[/]",
                highlight=False,
            )
            console.print(f"         {text[:300]}", markup=False, highlight=False, soft_wrap=True)


def _show_sent(job_id: str, group: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"job_id": job_id, "message_group_id": group}) + "\n")
    else:
        console.print(f"sent [bold]{job_id}[/] to group {group}", highlight=False)


def show_result(event: "Event", *, as_json: bool, whole: str | None = None) -> None:
    """Print a result; `whole` is a response that was too large for its event."""
    if as_json:
        sys.stdout.write(event.model_dump_json() + "\n")
        return
    data = event.data
    if data.is_error:
        errors.print(f"[bold red]{event.type.rpartition('.')[2]}:[/] ", end="")
        errors.print(data.error_message, markup=False, highlight=False, soft_wrap=True)
    response = whole or getattr(data, "response", None)
    if response:
        console.print(response, markup=False, highlight=False, soft_wrap=True)
    if note := getattr(data, "session_note", None):
        console.print(f"[yellow]note:[/] {note}", highlight=False)


def _json_object(option: str, text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as exc:
        fail(f"{option}: {text!r} is not JSON: {exc}")
    if not isinstance(value, dict):
        fail(f"{option}: {text!r} is not a JSON object")
    return value
