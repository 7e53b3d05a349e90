"""TicketBot: a chat in the terminal, over the real queue. Copy it to begin a bot of your own.
Needs `contracts`, rich, prompt-toolkit, and the environment of docs/bots.md.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from itertools import takewhile

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.patch_stdout import patch_stdout
from rich.console import Console
from rich.table import Table
from rich.text import Text

import contracts
from contracts.aio import AsyncProducer

HELP = """\
/chat NAME    go to another chat           /new     forget this conversation
/thread NAME  go to a thread of this chat  /cancel  stop what is under way here
/thread       go back to the chat itself   /quit    end"""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # could move the cursor, or worse


@dataclass(frozen=True)
class Place:
    """A conversation: a chat, or a thread in it."""

    chat: str
    thread: str | None = None

    def __str__(self) -> str:
        return f"{self.chat}/{self.thread}" if self.thread else self.chat


@dataclass
class Turn:
    """A message that has no answer yet, and what is known about it."""

    place: Place
    job_id: str
    since: float = field(default_factory=time.monotonic)
    doing: str = "waiting"
    text: str = ""


class TicketBot:
    """Sends what is typed and shows what comes back."""

    def __init__(self, producer: AsyncProducer) -> None:
        self.producer = producer
        self.console = Console(highlight=False)
        self.here, self.new_session, self.cost_usd = Place("main"), False, 0.0
        self.turns: dict[asyncio.Task[None], Turn] = {}

    async def take(self, line: str) -> None:
        """Do what a line says, or say why not."""
        self.console.print(Text.assemble((f"{self.here}> ", "bold cyan"), line))
        try:
            if line:
                await self.obey(line)
        except Exception as exc:  # noqa: BLE001 - it was refused, or AWS is out of reach
            self.problem(self.here, "that did not work", str(exc))

    async def obey(self, line: str) -> None:
        command, _, name = map(str.strip, line.partition(" "))
        match command:
            case "/chat" if name:
                self.here, self.new_session = Place(name), False
            case "/thread":
                self.here, self.new_session = Place(self.here.chat, name or None), False
            case "/new":
                self.new_session = True
                self.note("the next message starts a new conversation")
            case "/cancel":
                await self.cancel()
            case _ if command.startswith("/"):
                self.note(HELP)
            case _:
                await self.send(line)

    async def send(self, text: str) -> None:
        """Put a message on the queue. Awaited before the next one, so that they stay in order."""
        sent = await self.producer.enqueue(
            user_message=text,
            chat_id=self.here.chat,
            thread_id=self.here.thread,
            session="new" if self.new_session else "continue",
            progress="text",
        )
        self.new_session = False
        task = asyncio.create_task(self.follow(turn := Turn(self.here, sent.job_id)))
        self.turns[task] = turn
        task.add_done_callback(self.turns.pop)

    async def cancel(self) -> None:
        """Ask for what is open here to be stopped; its events tell what came of it."""
        for turn in list(self.turns.values()):
            if turn.place == self.here:
                turn.doing = "stopping"
                await self.producer.cancel(turn.job_id, requested_by="the user")

    async def follow(self, turn: Turn) -> None:
        """Show a turn until it has ended."""
        try:
            async for event in self.producer.stream(turn.job_id, timeout=900):
                match event:
                    case contracts.JobStartedEvent():
                        turn.doing, turn.text = "thinking", ""
                    case contracts.JobProgressEvent(data=data) if data.kind == "tool":
                        turn.doing, turn.text = "working", ""
                        self.line(turn.place, "·", Text(CONTROL.sub("", data.summary or ""), "dim"))
                    case contracts.JobProgressEvent(data=data):
                        turn.doing, turn.text = "typing", CONTROL.sub("", data.text or "")
                    case _:
                        await self.answer(turn, event)
        except contracts.FeedClosed:
            self.note(f"an answer in {turn.place} is still on its way")
        except Exception as exc:  # noqa: BLE001 - one turn must not end the others
            self.problem(turn.place, "no answer", str(exc))

    async def answer(self, turn: Turn, event: contracts.FinalEvent) -> None:
        data = event.data
        if isinstance(data, contracts.JobRejected):
            self.problem(turn.place, "not accepted", data.error_message)
            return
        if response := CONTROL.sub("", await self.producer.response(event)).strip():
            self.line(turn.place, "bot>", Text(response))
        if data.is_error:
            what = {"agent.job.cancelled": "stopped", "agent.job.failed": "no answer"}
            self.problem(turn.place, what.get(event.type, "cut short"), data.error_message or "")
        if data.session_note:
            self.note(data.session_note)
        self.cost_usd += data.cost_usd
        took = time.monotonic() - turn.since
        self.note(f"{took:6.1f} s  ${data.cost_usd:.4f}  total ${self.cost_usd:.4f}")

    def line(self, place: Place, label: str, text: Text) -> None:
        """A line of a conversation, with its name if it is not the one on the screen."""
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=4, justify="right")
        grid.add_column(overflow="fold")
        if place != self.here:
            text = Text.assemble((f"in {place}: ", "cyan"), text)
        grid.add_row(Text(label, "bold green"), text)
        self.console.print(grid)

    def problem(self, place: Place, what: str, why: str) -> None:
        self.line(place, "!", Text.assemble((f"{what}: ", "bold red"), CONTROL.sub("", why)))

    def note(self, text: str) -> None:
        self.console.print(Text(text, "dim"))

    def prompt(self) -> StyleAndTextTuples:
        """What is under way, above what is being typed."""
        live = ""
        for turn in self.turns.values():
            seconds = time.monotonic() - turn.since
            wheel = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(seconds * 10) % 10]
            text = "".join(f"\n     {line}" for line in turn.text[-200:].splitlines()[-3:])
            live += f"   {wheel} {turn.doing} in {turn.place}, {seconds:.0f} s{text}\n"
        return [("ansibrightblack", live), ("bold ansicyan", f"{self.here}> ")]


async def typed(bot: TicketBot) -> None:
    """Lines of a person, who does not wait for the answers."""
    session: PromptSession[str] = PromptSession(erase_when_done=True, refresh_interval=0.1)
    with patch_stdout(raw=True), contextlib.suppress(EOFError, KeyboardInterrupt):
        while (line := (await session.prompt_async(bot.prompt)).strip()) != "/quit":
            await bot.take(line)


async def piped(bot: TicketBot) -> None:
    """Lines of a script, each answered before the next one."""
    for line in takewhile("/quit".__ne__, map(str.strip, sys.stdin)):
        await bot.take(line)
        await asyncio.gather(*bot.turns)


async def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # as Ctrl-C
    async with AsyncProducer.from_env(os.environ) as producer:
        bot = TicketBot(producer)
        bot.note(HELP)
        await (typed(bot) if sys.stdin.isatty() else piped(bot))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (KeyboardInterrupt, Exception) as exc:  # noqa: BLE001 - such as a stack that has ended
        sys.exit(str(exc) or 0)
