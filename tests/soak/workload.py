"""What the bot sends: a seeded sequence of good, slow, failing and malformed messages."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contracts import message_group_id, session_key

TAG = re.compile(r"\bt\d{5}\b")
"""Every prompt holds its order's tag, by which the audit finds it again."""

REPEATED_SHARE = 0.15
NAMED_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation; chat ids are a bot's own, so some need escaping."""

    chat_id: str
    thread_id: str | None = None

    @property
    def group(self) -> str:
        return message_group_id(self.chat_id, self.thread_id)

    @property
    def key(self) -> str:
        return session_key(self.chat_id, self.thread_id)


@dataclass(frozen=True, slots=True)
class Order:
    """One job of the plan. Without a `job_id` the worker names it after the message.

    `effects` are the lines that its tool calls append to the ledger.
    """

    tag: str
    chat: Chat
    kind: str
    body: str
    group: str
    job_id: str | None = None
    effects: tuple[str, ...] = ()
    authorized: bool = True
    rejected: bool = False


class Workload:
    """Orders in the order of sending, some of them more than once."""

    def __init__(self, seed: int, chats: int, effect: Path) -> None:
        """`effect` is the script that a tool call runs: `sh <effect> <line> <seconds>`."""
        self._dice = random.Random(seed)
        self._effect = effect
        self._number = 0
        self.chats = tuple(
            Chat(("-100{}", "team/{} é")[n % 2].format(n), "7" if n % 3 == 2 else None)
            for n in range(chats)
        )

    def orders(self, jobs: int) -> Iterator[Order]:
        """`jobs` different orders; repeats of named ones come in between, soon or late."""
        sent: list[Order] = []
        for _ in range(jobs):
            order = self._order()
            yield order
            if order.job_id and not order.rejected:
                sent.append(order)
            if sent and self._dice.random() < REPEATED_SHARE:
                yield self._dice.choice(sent[-12:])

    def last_questions(self) -> Iterator[Order]:
        """One for each chat: its answer counts all that the model remembers."""
        for chat in self.chats:
            yield self._talk("last question", chat)

    def _order(self) -> Order:
        chat = self._dice.choice(self.chats)
        kinds = {
            self._quick: 30,
            self._slow: 15,
            self._tools: 26,
            self._overloaded: 10,
            self._cut: 5,
            self._overloaded_between_tools: 5,
            self._long: 3,
            self._refused: 2,
            self._malformed: 4,
        }
        [make] = self._dice.choices(list(kinds), list(kinds.values()))
        return make(chat)

    def _quick(self, chat: Chat) -> Order:
        return self._talk("quick", chat)

    def _slow(self, chat: Chat) -> Order:
        late, slow = self._dice.uniform(0.1, 2), self._dice.uniform(0.01, 0.1)
        return self._talk(
            "slow", chat, self._dice.choice((f"[[delay {late:.1f}]]", f"[[slow {slow:.2f}]]"))
        )

    def _overloaded(self, chat: Chat) -> Order:
        status = self._dice.choice((429, 500, 529))
        return self._talk("overloaded", chat, f"[[status {status} times 1]]")

    def _cut(self, chat: Chat) -> Order:
        fault = self._dice.choice(("disconnect", "stall"))
        return self._talk(fault, chat, f"[[{fault} times 1]]")

    def _long(self, chat: Chat) -> Order:
        return self._talk("long", chat, "[[long 300000]]")

    def _refused(self, chat: Chat) -> Order:
        return self._talk("refused", chat, "[[status 400]]")

    def _talk(self, kind: str, chat: Chat, directive: str = "") -> Order:
        tag = self._tag()
        return self._good(tag, chat, kind, f"hello {tag} {directive}".strip())

    def _tools(self, chat: Chat) -> Order:
        return self._steps("tools", chat)

    def _overloaded_between_tools(self, chat: Chat) -> Order:
        return self._steps("overloaded between tools", chat, "[[after 1]] [[status 529 times 1]] ")

    def _steps(self, kind: str, chat: Chat, directive: str = "") -> Order:
        tag = self._tag()
        effects = tuple(f"{tag}.{n}" for n in range(self._dice.randint(1, 4)))
        steps = "; ".join(
            f"run sh {self._effect} {line} {self._dice.choice((0, 0.2, 0.8, 2.5))}"
            for line in effects
        )
        return self._good(tag, chat, kind, f"{directive}steps: {steps}", effects)

    def _good(
        self, tag: str, chat: Chat, kind: str, text: str, effects: tuple[str, ...] = ()
    ) -> Order:
        job_id = f"job-{tag}" if self._dice.random() < NAMED_SHARE else None
        body = _body(chat, text, job_id=job_id)
        return Order(tag, chat, kind, body, chat.group, job_id, effects)

    def _malformed(self, chat: Chat) -> Order:
        tag = self._tag()
        other = Chat("somebody-else")
        body, group, authorized = self._dice.choice(
            (
                ('{"user_message": "cut of', chat.group, True),
                (_body(chat, f"hello {tag}", colour="red"), chat.group, True),
                (_body(chat, f"hello {tag}", model="gpt"), chat.group, True),
                (_body(other, f"hello {tag}"), chat.group, True),
                (_body(chat, f"hello {tag}"), chat.group, False),
            )
        )
        return Order(tag, chat, "malformed", body, group, authorized=authorized, rejected=True)

    def _tag(self) -> str:
        self._number += 1
        return f"t{self._number:05d}"


def _body(chat: Chat, text: str, **fields: object) -> str:
    given = {"user_message": text, "chat_id": chat.chat_id, "thread_id": chat.thread_id, **fields}
    return json.dumps({name: item for name, item in given.items() if item is not None})
