"""A whole system in memory: queue, tables, bucket, agent and subscribers, driven step by step."""

import itertools
import json
from dataclasses import replace

from contracts import message_group_id
from contracts.control import CancelRequest
from worker.adapters.memory import (
    ManualClock,
    MemoryAgent,
    MemoryAttachments,
    MemoryCheckouts,
    MemoryInbox,
    MemoryJournal,
    MemoryLedger,
    MemoryPublisher,
    MemoryResults,
    MemoryRules,
    MemoryUsage,
)
from worker.domain.disposition import Ack, DeadLetter, Retry
from worker.domain.message import InboundMessage
from worker.domain.policy import Policy
from worker.domain.turn import AgentResult
from worker.pipeline import process
from worker.ports import Ports


async def echo(turn, checkout):
    """An agent that answers with all it remembers, so that lost or doubled history shows."""
    checkout.transcript.append(turn.prompt)
    return AgentResult(
        session_id=turn.session_id,
        subtype="success",
        is_error=False,
        text=" | ".join(checkout.transcript),
        cost_usd=0.25,
        num_turns=1,
    )


class World:
    def __init__(self, script=echo, clock=None, inbox=MemoryInbox, **policy):
        self.clock = clock or ManualClock()
        self.inbox = inbox(self.clock)
        self.ledger = MemoryLedger()
        self.checkouts = MemoryCheckouts(self.clock)
        self.agent = MemoryAgent(script)
        self.publisher = MemoryPublisher()
        self.usage = MemoryUsage()
        self.attachments = MemoryAttachments()
        self.rules = MemoryRules(Policy(**policy))
        self.ports = Ports(
            policy=Policy(**policy),
            clock=self.clock,
            inbox=self.inbox,
            ledger=self.ledger,
            checkouts=self.checkouts,
            agent=self.agent,
            usage=self.usage,
            rules=self.rules,
            attachments=self.attachments,
            results=MemoryResults(),
            publisher=self.publisher,
            journal=MemoryJournal(),
            owner="worker-a",
        )
        self._numbers = itertools.count(1)

    def send(self, text="hello", chat="1", *, group=None, body=None, attributes=None, **fields):
        number = next(self._numbers)
        request = {"user_message": text, "chat_id": chat, **fields}
        message = InboundMessage(
            message_id=f"m-{number}",
            group_id=group or message_group_id(chat, fields.get("thread_id")),
            body=body if body is not None else json.dumps(request),
            attributes=attributes or {},
            receipt_handle=f"r-{number}",
        )
        self.inbox.send(message)
        return message

    def cancel(self, job_id, by="ada"):
        """Ask for the end of a job, as a bot does."""
        self.ledger.controls[job_id] = CancelRequest(self.clock.now(), by)

    async def step(self, ports=None):
        """Receive one message, process it, carry out its disposition; None: nothing to receive."""
        ports = ports or self.ports
        message = self.inbox.receive(ports.policy.lease_seconds)
        if message is None:
            return None
        disposition = await process(message, ports)
        await self.carry_out(message, disposition)
        return disposition

    async def carry_out(self, message, disposition):
        match disposition:
            case Ack():
                await self.inbox.delete(message)
            case Retry(after):
                if after is not None:
                    await self.inbox.extend(message, after)
            case DeadLetter() as letter:
                await self.inbox.quarantine(message, letter)
                await self.inbox.delete(message)

    async def drain(self, limit=100):
        """Step, and let time pass, until the queue is empty."""
        for _ in range(limit):
            if not self.inbox.waiting:
                return
            if await self.step() is None:
                self.clock.advance(30)
        message = f"the queue did not empty: {self.inbox.waiting}"
        raise AssertionError(message)

    def with_ports(self, **changes):
        return replace(self.ports, **changes)

    @property
    def events(self):
        return [json.loads(event) for event in self.publisher.events]

    @property
    def responses(self):
        return [event["data"].get("response") for event in self.events]
