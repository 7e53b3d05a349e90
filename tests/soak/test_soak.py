"""A short soak, and that the audit notices what it is there for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.audit import VIOLATIONS, in_sequence
from tests.soak.bot import Heard, Sent
from tests.soak.stalls import Stall, longest_stall
from tests.soak.workload import Workload

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_nothing_is_lost_doubled_disordered_or_torn_while_workers_are_killed_and_frozen():
    command = [sys.executable, "-m", "tests.soak", "--json", "--seed", "3"]
    size = ["--jobs", "12", "--chats", "6", "--kill-every", "3", "--minutes", "0.25"]
    soak = subprocess.Popen([*command, *size], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        output, _ = soak.communicate(timeout=800)
    finally:
        soak.terminate()  # it ends what it has started
        soak.wait(60)
    findings = json.loads(output)
    assert findings["violations"] == {kind: [] for kind in VIOLATIONS}
    assert soak.returncode == 0
    assert findings["figures"]["harm done"] != "none"


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (["a", "b", "c"], None),
        (["a", "c", "b"], "out of order"),
        (["a", "b", "b", "c"], "duplicated"),
        (["a", "c"], "torn"),
        (["a", "b", "c", "x"], "torn"),
    ],
)
def test_a_sequence_that_is_not_as_sent_is_noticed(found, kind):
    violations = in_sequence("the transcript", "the prompt", ["a", "b", "c"], found, whole=True)
    assert [name for name, _ in violations] == ([kind] if kind else [])


def test_what_is_sent_follows_from_the_seed_and_holds_every_kind(tmp_path):
    def kinds(seed):
        return [order.kind for order in Workload(seed, 8, tmp_path / "effect").orders(200)]

    assert kinds(1) == kinds(1) != kinds(2)
    assert {"quick", "tools", "overloaded", "refused", "malformed", "long"} <= set(kinds(1))


def test_a_stall_is_neither_work_nor_backoff_and_begins_when_a_worker_is_harmed(tmp_path):
    order = next(iter(Workload(1, 1, tmp_path / "effect").orders(1)))
    job = {"job_id": "j", "worker": "w"}
    steps = [
        {"at": 101, "message": "claim", "result": "Claim", **job},
        {"at": 101, "message": "restore", **job},
        {"at": 131, "message": "run", "verdict": "Again", **job},
        {"at": 151, "message": "claim", "result": "Claim", **job},
        {"at": 151, "message": "restore", **job},
        {"at": 187, "message": "claim", "result": "Claim", **job, "worker": "v"},
    ]
    harm = [(120, "v"), (181, "w"), (182, "w")]
    heard = {"j": [Heard({}, 188)]}
    assert longest_stall({"j": Sent("j", order, 100)}, heard, steps, harm) == Stall(6, "j", 2)
