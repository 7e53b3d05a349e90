"""What is processed while faults happen: each kind of message, and each of its endings."""

from dataclasses import replace

from tests.faults.process import Fault
from tests.faults.simulation import NEVER, Scenario
from worker.domain.policy import Policy
from worker.domain.usage import UsageLimits

LAMBDA_SECONDS = 60.0
"""Two model calls of model.py fit into one invocation."""


def _one(words="", **fields):
    return (("j-1", words, "1", fields),)


_CONVERSATION = tuple((f"j-{n}", "tools=1" if n == 3 else "", "1", {}) for n in range(1, 5))

_CHATS = (
    ("j-1", "", "1", {}),
    ("j-2", "tools=1", "1", {}),
    ("j-3", "", "2", {}),
)


def _watched(seconds):
    return Policy(cancel_poll_seconds=seconds)


_UNWATCHED = _watched(NEVER)

SCENARIOS = (
    Scenario("a plain turn", _one()),
    Scenario("three tool calls", _one("tools=3")),
    Scenario("a turn that tells its steps", _one("tools=2", progress="steps")),
    Scenario("a turn that fails once", _one("tools=1 flaky")),
    Scenario(
        "a turn that fails for good",
        _one("tools=1 poison"),
        replace(_UNWATCHED, max_attempts=3),
    ),
    Scenario("a rejected message", _one(model="gpt-4")),
    Scenario("a large result", _one("large")),
    Scenario(
        "chats with budgets",
        (("j-1", "tools=1", "1", {}), ("j-2", "", "2", {})),
        replace(
            _UNWATCHED,
            usage=UsageLimits(chat_daily_budget_usd=50, tenant_daily_budget_usd=90),
        ),
        slots=2,
    ),
    Scenario("two messages of a chat beside one of another", _CHATS, slots=2),
    Scenario("a sliced turn", _one("tools=3"), lambda_seconds=LAMBDA_SECONDS),
    Scenario("a job sent twice", _one() + _one()),
    Scenario("a conversation with one worker", _CONVERSATION),
    Scenario("a conversation that two workers share", _CONVERSATION, workers=2),
    Scenario("chats on Lambda", _CHATS, lambda_seconds=840.0),
    Scenario("a job that is cancelled before it begins", _CHATS, cancel_at=0.0),
    Scenario("a turn that is cancelled", _one("tools=2"), _watched(20.0), cancel_at=30.0),
    Scenario("a turn that is cancelled as it ends", _one(), _watched(25.0), cancel_at=30.0),
    Scenario(
        "a turn that is cancelled between two slices",
        _one("tools=3"),
        _UNWATCHED,
        lambda_seconds=LAMBDA_SECONDS,
        cancel_at=40.0,
    ),
    Scenario(
        "a job that is cancelled while it waits for its next attempt",
        _one("tools=1 flaky"),
        cancel_at=76.5,
    ),
    Scenario(
        "a queue that does not keep a message hidden",
        _one("tools=6"),
        workers=2,
        always={"inbox.extend": Fault.ERROR_BEFORE},
    ),
)
