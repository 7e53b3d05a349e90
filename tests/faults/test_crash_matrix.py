"""Every call of a worker to the outside, and every way in which it can go wrong, one by one and two
in one course; afterwards every guarantee is checked from outside.

FAULTS=all runs all pairs of faults, which takes minutes; otherwise those of the plain turn and a
fixed sample of the others.
"""

import itertools
import os
import random
import sys

import pytest

from tests.faults.guarantees import violations
from tests.faults.process import ERRORS, Fault
from tests.faults.scenarios import SCENARIOS
from tests.faults.simulation import runner, simulate
from worker.domain import events

LEASE_SECONDS = 120.0
LAMBDA_VISIBILITY_SECONDS = 900.0
SLACK_SECONDS = 60.0
PAIRS = 10**9 if os.environ.get("FAULTS") == "all" else 250
IN_FULL = {"a plain turn"}

PAIRED = (Fault.CRASH_AFTER, Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.FREEZE)
"""A crash before a call is one after the call before it. Longer sleeps and drains: singly."""


@pytest.fixture
def small_events(monkeypatch):
    """A "large" result of a few kilobytes, so that thousands of them are cheap."""
    monkeypatch.setattr(events, "MAX_EVENT_BYTES", 4000)
    monkeypatch.setattr(events, "BEGINNING_CHARACTERS", 100)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_fault_breaks_a_guarantee(scenario, small_events, capsys):
    with runner() as run:
        plain = run.run(simulate(scenario, {}))
        assert violations(plain.system) == []
        assert plain.system.reported == _charged(plain)
        steps = range(1, len(plain.calls) + 1)
        singles = {}
        for step, fault in itertools.product(steps, Fault):
            course = run.run(simulate(scenario, {step: fault}))
            case = f"{fault.name} at call {step}, {plain.calls[step - 1]}"
            assert _broken(course) == [], case
            assert course.seconds <= _patience(scenario, plain), case
            if fault in ERRORS and not _unknowable(plain.calls[step - 1]):
                assert +course.system.reported == _charged(course), case
            singles[step, fault] = course.calls
        pairs = [
            (first, fault, second, other)
            for (first, fault), calls in singles.items()
            if fault in PAIRED
            for second in range(first + 1, len(calls) + 1)
            for other in PAIRED
        ]
        if scenario.name not in IN_FULL and len(pairs) > PAIRS:
            pairs = random.Random(scenario.name).sample(pairs, PAIRS)
        for first, fault, second, other in pairs:
            course = run.run(simulate(scenario, {first: fault, second: other}))
            calls = singles[first, fault]
            case = (
                f"{fault.name} at call {first}, {calls[first - 1]}; "
                f"{other.name} at call {second}, {calls[second - 1]}"
            )
            assert _broken(course) == [], case
    with capsys.disabled():
        sys.stderr.write(f"\n{scenario.name}: {len(singles)} faults, {len(pairs)} pairs\n")
    # The matrix cannot become small unnoticed.
    assert len(singles) >= 7 * len(Fault)
    assert len(pairs) >= 250


def _broken(course):
    return violations(course.system)


def _patience(scenario, plain):
    """G5: after one fault a lease runs out, and the turn is done again."""
    wait = LEASE_SECONDS if scenario.lambda_seconds is None else LAMBDA_VISIBILITY_SECONDS
    return 2 * plain.seconds + wait + SLACK_SECONDS


def _charged(course):
    """What the results say that each job has cost."""
    return {
        event["data"]["job_id"]: event["data"]["cost_usd"]
        for event in course.system.publisher.seen
        if event["data"].get("cost_usd")
    }


def _unknowable(step):
    """Calls whose failure leaves it unknown what the attempt has cost, as a crash does."""
    return step.split()[1] in {"agent.run", "ledger.release", "checkouts.close"}
