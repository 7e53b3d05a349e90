"""What the commands share: consoles, common options, and how a command fails."""

from typing import Annotated, NoReturn

import typer
from rich.console import Console

console = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def fail(text: str, code: int = 1) -> NoReturn:
    """Say what was wrong and what to do, and end with exit status `code`."""
    errors.print("[bold red]error:[/] ", end="")
    errors.print(text, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
