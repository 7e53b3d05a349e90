"""`scripts/demo --chat`: a person types, the bot answers."""

import contextlib
import sys
import time
from collections.abc import Iterator

from contracts import ContractError
from worker.local.demo.machine import Machine
from worker.local.demo.screen import Screen

_CHAT = "you"
_WAIT_SECONDS = 900.0
_COMMANDS = """/new       start a new session: the bot forgets this conversation
/thread X  go to thread X, which has its own memory; /thread goes back
/quit      end (or Ctrl-D)"""


class Chat:
    """One person's chat, thread by thread."""

    def __init__(self, machine: Machine, screen: Screen) -> None:
        self._producer = machine.producer
        self._screen = screen
        self._thread: str | None = None
        self._new = False

    def run(self) -> None:
        self._screen.chat_help(_COMMANDS)
        turns, cost = 0, 0.0
        for line in self._lines():
            command, _, argument = line.partition(" ")
            match command:
                case "/quit":
                    break
                case "/new":
                    self._new = True
                    self._screen.note("the next message starts a new session")
                case "/thread":
                    self._thread, self._new = argument.strip() or None, False
                    self._screen.note(f"thread: {self._thread or 'none, the chat itself'}")
                case _ if command.startswith("/"):
                    self._screen.chat_help(_COMMANDS)
                case _:
                    turns, cost = turns + 1, cost + self._ask(line)
        self._screen.note(f"{turns} {'turn' if turns == 1 else 'turns'}, ${cost:.4f}")

    def _ask(self, text: str) -> float:
        """Send, wait, show; returns what it cost in US dollars."""
        started = time.monotonic()
        try:
            with self._screen.waiting():
                sent = self._producer.enqueue(
                    user_message=text,
                    chat_id=_CHAT,
                    thread_id=self._thread,
                    session="new" if self._new else "continue",
                )
                event = self._producer.wait(sent.job_id, timeout=_WAIT_SECONDS)
        except ContractError as exc:
            self._screen.problem(str(exc))
            return 0.0
        self._new = False
        self._screen.reply(event, time.monotonic() - started)
        return float(getattr(event.data, "cost_usd", 0.0))

    def _lines(self) -> Iterator[str]:
        """What the person types, without empty lines."""
        if sys.stdin.isatty():
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401, PLC0415 - gives `input` its line editing
        while True:
            prompt = f"{_CHAT}{'/' + self._thread if self._thread else ''}> "
            try:
                line = input(prompt)
            except EOFError:
                self._screen.end_line()
                return
            if not sys.stdin.isatty():
                self._screen.typed(line)
            if line.strip():
                yield line.strip()
