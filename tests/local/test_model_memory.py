"""The scripted model's memory is bounded."""

from starlette.requests import Request

from worker.local.model.delivery import FaultCounters
from worker.local.model.directives import Fault, FaultKind
from worker.local.model.recorder import Recorder
from worker.local.model.script import Reply

REQUEST = Request(
    {"type": "http", "method": "POST", "path": "/", "headers": [], "server": ("x", 1)}
)


def test_the_recorder_keeps_the_latest_requests_by_number():
    recorder = Recorder()
    for number in range(1500):
        recorder.record(REQUEST, b"", number)
    assert recorder.total == 1500
    assert [entry["body"] for entry in recorder.latest()] == list(range(500, 1500))
    assert [entry["number"] for entry in recorder.latest(2)] == [1499, 1500]
    assert recorder.latest(0) == []


def test_the_recorder_keeps_the_latest_requests_by_size():
    recorder = Recorder()
    for number in range(10):
        recorder.record(REQUEST, b"x" * 5_000_000, number)
    assert [entry["body"] for entry in recorder.latest()] == [7, 8, 9]


def test_fault_counters_forget_the_oldest_messages():
    counters, once = FaultCounters(), Fault(FaultKind.HANG, times=1)
    first = Reply((), (once,), "first")
    assert counters.next_fault(first) is once
    assert counters.next_fault(first) is None
    for number in range(10_000):
        counters.next_fault(Reply((), (once,), str(number)))
    assert counters.next_fault(first) is once
