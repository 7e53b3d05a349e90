"""`up` and `down`: the local stack."""

from pathlib import Path
from typing import Annotated

import typer

from worker.entrypoints.cli.output import console, fail

STATE_DIR = Path(".agent-worker")
StateDir = Annotated[
    Path, typer.Option(help="Where the local stack keeps its state, logs and environment.")
]


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
        fail(str(exc))


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
