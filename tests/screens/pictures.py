"""The pictures by name. Each prints what a command prints on a console of 80 columns."""

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from tests.screens import dead_letters, operator

FOLDER = Path(__file__).parents[2] / "docs" / "screens"

Picture = Callable[[Console], None]

PICTURES: dict[str, tuple[str, Picture]] = {
    "status": ("agent-worker status", operator.status),
    "jobs-show": ("agent-worker jobs show update-8811", operator.show),
    "transcript": ("agent-worker sessions transcript acme/C024BE91L --last 2", operator.transcript),
    "dlq-list": ("agent-worker dlq list", dead_letters.groups),
    "dlq-dry-run": ("agent-worker dlq replay --reason model_error", dead_letters.dry_run),
}


def draw(name: str) -> str:
    title, picture = PICTURES[name]
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    picture(console)
    return console.export_svg(title=title, theme=MONOKAI, unique_id=name)
