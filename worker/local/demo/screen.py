"""How the demo looks: conversation at the left, what subscribers receive at the right."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from contracts import Event, JobProgressEvent, JobStartedEvent, StreamEvent
from worker.domain.job import JobRecord
from worker.local.demo.summary import summary_table
from worker.local.demo.timeline import Run, bars

_WIDTH = 80
_LABEL = 10
_TAIL = 40  # characters of a text that is being written
_BESIDE_BAR = 34  # characters: label, times and gaps
_WORKSPACE = re.compile(r"/\S+/workspace/")  # long, and the same for a chat on every machine
_NEXT = """
  scripts/ticketbot                type to the bot yourself
  .venv/bin/agent-worker up        this stack, until you end it; it says how
                                   to load its environment. Shells that have it:
  .venv/bin/agent-worker run         a worker
  .venv/bin/agent-worker tail        results, as they are published
  .venv/bin/agent-worker send --chat 1 --wait "hello"
  README.md, docs/                 how it works, how to deploy and operate it
"""


class Screen:
    """Writes to standard output; safe to use from several threads."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._console.width = min(self._console.width, _WIDTH)
        self._scene = 0

    def title(self) -> None:
        self._console.print(
            "[bold]agent-worker[/], the whole system on this machine: the real worker and agent, "
            "with queues, tables, bucket and topic on an AWS emulator. Only the model is "
            "scripted: it follows fixed rules, so that no account is needed."
        )

    def progress(self, text: str) -> None:
        self._console.print(Text(f"{text} ...", "dim"))

    def note(self, text: str) -> None:
        self._console.print(Text(text, "dim"))

    def failure(self, text: str, state_dir: Path) -> None:
        self._console.print(Text(f"✗ {text}", "bold red"))
        self._console.print(Text(f"  logs: {state_dir}/*.log", "dim"))

    def scene(self, title: str, text: str) -> None:
        self._scene += 1
        self._console.print()
        self._console.print(Rule(f"[bold]{self._scene}  {title}[/]", align="left", style="cyan"))
        self._console.print(Text(text, "dim"))
        self._console.print()

    def holds(self, text: str) -> None:
        """A claim that was checked."""
        self._console.print(Text(f"  ✓ {text}", "green"))

    def question(self, who: str, text: str) -> None:
        self._line(Text(who, "bold cyan"), Text(text))

    def answer(self, event: Event, seconds: float) -> None:
        data = event.data
        cost = getattr(data, "cost_usd", 0.0)
        figures = Text(f"{seconds:.1f} s  ${cost:.4f}", "dim")
        if text := _WORKSPACE.sub("workspace/", getattr(data, "response", "")):
            self._line(Text("bot", "bold green"), Text(text), figures)
        if data.is_error:
            kind = event.type.rpartition(".")[2]
            self._line(Text(kind, "bold red"), Text(data.error_message or ""), figures)

    def event(self, event: Event) -> None:
        self._console.print(
            Text(f"topic → {event.type} {event.subject}", "magenta"), justify="right"
        )

    def webhook(self, event: Event) -> None:
        """One that was verified."""
        self._console.print(
            Text(f"webhook, verified → {event.type} {event.subject}", "magenta"), justify="right"
        )

    def output(self, text: str) -> None:
        """What a command has printed."""
        for line in text.splitlines():
            self._console.print(Text(line, no_wrap=True, overflow="crop"))

    def step(self, event: StreamEvent, seconds: float) -> None:
        """How far a job has come; nothing for its result."""
        match event:
            case JobStartedEvent():
                told = "started"
            case JobProgressEvent(data=data):
                written = " ".join((data.text or "").split())[-_TAIL:].strip()
                told = data.summary or f"writes: {written}"
            case _:
                return
        self._line(Text("…", "dim"), Text(told, "dim"), Text(f"{seconds:.1f} s", "dim"))

    def act(self, command: str, result: str) -> None:
        self._line(Text("$", "bold yellow"), Text(f"{command:<20} {result}"))

    def dead_letter(self, letter: Mapping[str, str]) -> None:
        table = Table.grid(padding=(0, 2))
        for name in ("dead_letter_reason", "dead_letter_error", "job_id"):
            table.add_row(Text(name, "yellow"), Text(letter.get(name, "")))
        self._console.print(Padding(table, (0, 0, 0, 2)))

    def timeline(self, runs: Sequence[Run]) -> None:
        start = runs[0].start
        width = max(self._console.width - _BESIDE_BAR, 1)
        for run, bar in zip(runs, bars(runs, width), strict=True):
            style = "cyan" if run.chat == runs[0].chat else "yellow"
            times = Text(f"{run.start - start:.1f} - {run.end - start:.1f} s", "dim")
            self._line(Text(run.job_id, style), Text(bar, style), times)

    def summary(self, records: Sequence[JobRecord]) -> None:
        self._console.print()
        self._console.print(Rule("[bold]Summary[/]", align="left", style="cyan"))
        self._console.print(summary_table(records))
        self.note(
            "Time is from the first claim to the publication. Cost is the agent's count for the "
            "tokens that the scripted model reports: nobody is billed."
        )

    def what_next(self) -> None:
        self._console.print()
        self._console.print(Rule("[bold]What to try next[/]", align="left", style="cyan"))
        self._console.print(_NEXT.strip("\n"), markup=False)
        self._console.print()

    def end_line(self) -> None:
        self._console.print()

    def _line(self, label: Text, text: Text, right: Text | None = None) -> None:
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column(width=_LABEL, justify="right", no_wrap=True)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(label, text, right or Text())
        self._console.print(grid)
