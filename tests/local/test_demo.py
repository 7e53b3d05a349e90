"""The demo: it shows what it says, fails when that is not so, and leaves nothing running."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from contracts import (
    JobCompleted,
    JobCompletedEvent,
    JobFailed,
    JobFailedEvent,
    JobProgress,
    JobProgressEvent,
    JobStarted,
    JobStartedEvent,
)
from tests.conftest import ROOT
from worker.local.demo import claims
from worker.local.demo.claims import ClaimError
from worker.local.demo.timeline import Run, bars
from worker.local.processes import start_time

SCENES = [
    "1  A conversation",
    "✓ four turns, one session: what was said first is still known",
    "2  A second thread",
    "✓ neither thread knows what was said in the other",
    "3  A tool",
    "✓ the file was on disk: `cat` has read it",
    "4  Live progress",
    "…  started",
    "…  Bash: sleep 1",
    "…  Bash: echo done",
    "✓ each step was shown while the agent worked, and the result came last",
    "5  Two chats in parallel",
    "✓ each chat kept its order, neither waited for the other",
    "6  A crash",
    "✓ both memories are intact: they live in DynamoDB and S3",
    "7  A malformed message",
    "invalid_request",
    "✓ it is in the dead-letter queue, with its reason",
    "✓ its chat goes on",
    "8  A webhook",
    "agent-worker webhooks add",
    "webhook, verified → agent.job.completed ada-10",
    "agent-worker webhooks log",
    "delivered",
    "✓ its signature is valid, and one for a changed body is not",
    "Summary",
    "21 jobs",
    "✓ the subscriber has 21 results, one of each job",
    "What to try next",
    "  .venv/bin/agent-worker up        this stack, until you end it; it says how\n",
    "everything that the demo started is ended",
]

EXAMPLES = ROOT / "contracts" / "examples" / "events"


TICKETBOT = ("-m", "worker.local.ticketbot")


class Demo:
    """`scripts/demo` after its setup."""

    def __init__(self, state_dir):
        self.state_dir = state_dir

    def start(self, *arguments, program=("-m", "worker.local.demo"), **streams):
        return subprocess.Popen(
            [sys.executable, *program, "--state-dir", str(self.state_dir), *arguments],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **streams,
        )

    def run(self, *arguments, typed="", **options):
        process = self.start(*arguments, stdin=subprocess.PIPE, **options)
        output, _ = process.communicate(typed, timeout=110)
        return process.returncode, output

    def processes(self):
        """What the demo has started, while it runs."""
        stack = json.loads((self.state_dir / "stack.json").read_text())
        worker = json.loads((self.state_dir / "worker.json").read_text())
        return [service["pid"] for service in (*stack["services"], worker)]


@pytest.fixture
def demo(tmp_path):
    return Demo(tmp_path / "demo")


@pytest.mark.integration
def test_the_tour_shows_every_scene_and_leaves_nothing_behind(demo):
    status, output = demo.run()
    assert status == 0, output
    places = [output.find(line) for line in SCENES]
    assert -1 not in places, f"missing: {SCENES[places.index(-1)]}\n{output}"
    assert places == sorted(places)
    assert output.count("topic → agent.job.completed") == 20
    assert output.count("topic → agent.job.rejected") == 1
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 80
    assert not (demo.state_dir / "disk").exists()
    assert not (demo.state_dir / "stack.json").exists()


FORGETFUL = """
from contracts import Producer
from worker.local.demo.__main__ import main

enqueue = Producer.enqueue
Producer.enqueue = lambda self, **fields: enqueue(self, **fields, session="new")
raise SystemExit(main())
"""


@pytest.mark.integration
def test_a_lost_memory_ends_the_tour_with_a_sentence_and_an_error(demo):
    status, output = demo.run(program=("-c", FORGETFUL))
    assert status == 1
    assert "✗ memory was lost: the answer of job ada-3 does not mention 'Ada'" in output
    assert "✓" not in output


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_all_that_it_started(demo, number):
    process = demo.start(stdin=subprocess.DEVNULL)
    for line in process.stdout:
        if "my name is Ada" in line:
            break
    pids = demo.processes()
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert [start_time(pid) for pid in pids] == [None] * 3


@pytest.mark.integration
def test_a_demo_ends_what_a_killed_one_left_and_the_callers_settings_do_not_reach_it(
    demo, monkeypatch
):
    first = demo.start(program=TICKETBOT, stdin=subprocess.PIPE)
    assert any("/quit" in line for line in first.stdout)
    status, output = demo.run()
    assert status == 1
    assert "another demo or ticketbot runs" in output
    left = demo.processes()
    first.kill()
    first.communicate()
    for name in ("HTTP_PROXY", "http_proxy", "AWS_ENDPOINT_URL_SQS"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_PROFILE", "of-the-caller")
    monkeypatch.setenv("CLAUDE_CODE_USE_BEDROCK", "1")
    status, output = demo.run(program=TICKETBOT, typed="hello")
    assert status == 0, output
    assert "message 1 of our conversation" in output
    assert [start_time(pid) for pid in left] == [None] * 3


def test_help_answers_without_any_setup():
    shown = subprocess.run(
        [ROOT / "scripts" / "demo", "--help"],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "scripts/ticketbot" in shown.stdout


def answer(response="You told me that your name is Ada.", **changes):
    fields = {
        "job_id": "ada-1",
        "tenant_id": "default",
        "chat_id": "ada",
        "response": response,
        "session_id": "s-1",
        "session_status": "continued",
        "model": "sonnet",
        "attempt": 1,
    }
    return JobCompleted(**{**fields, **changes})


def event(**changes):
    return JobCompletedEvent.of(answer(**changes), time=datetime(2026, 1, 1, tzinfo=UTC))


def test_an_answer_that_knows_is_told_from_one_that_does_not():
    claims.remembers(answer(), "Ada")
    claims.does_not_know(answer(), "Oslo")
    with pytest.raises(ClaimError, match=r"memory was lost: .* ada-1 does not mention 'Oslo'"):
        claims.remembers(answer(), "Oslo")
    with pytest.raises(ClaimError, match="memory is shared: job ada-1 knows 'Ada'"):
        claims.does_not_know(answer(), "Ada")


def test_a_session_that_is_not_continued_is_lost():
    claims.is_continued(answer(), "s-1")
    for other in (answer(session_status="reset"), answer(session_id="s-2")):
        with pytest.raises(ClaimError, match="the session was lost: job ada-1"):
            claims.is_continued(other, "s-1")


def followed(*steps, text="Bash returned"):
    """The events of a job that calls tools, and then writes."""
    about = {"job_id": "ada-1", "tenant_id": "default", "chat_id": "ada", "attempt": 1}
    counts = {"num_turns": 1, "tool_calls": 1, "elapsed_ms": 1}
    data = [
        *(JobProgress(**about, **counts, kind="tool", tool="Bash", summary=s) for s in steps),
        JobProgress(**about, **counts, kind="text", text=text),
    ]
    noon = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        JobStartedEvent.of(JobStarted(**about, model="sonnet"), time=noon, number=1),
        *(JobProgressEvent.of(each, time=noon, number=n) for n, each in enumerate(data, 2)),
        event(),
    ]


def test_progress_that_is_not_whole_or_comes_too_late_is_noticed():
    claims.was_followed(followed("Bash: ls"), ["Bash: ls"])
    with pytest.raises(ClaimError, match=r"progress was lost: expected .*Bash: ls"):
        claims.was_followed(followed(), ["Bash: ls"])
    with pytest.raises(ClaimError, match=r"heard agent\.job\.completed"):
        claims.was_followed([event()], [])
    with pytest.raises(ClaimError, match="nothing of the text"):
        claims.was_followed(followed("Bash: ls", text=""), ["Bash: ls"])
    started, *rest = followed("Bash: ls")
    with pytest.raises(ClaimError, match="not the last"):
        claims.was_followed([started, event(), *rest], ["Bash: ls"])


def test_only_a_completed_turn_without_error_is_an_answer():
    assert claims.answered(event()) == answer()
    failed = JobFailed(
        job_id="ada-1",
        tenant_id="default",
        chat_id="ada",
        error_message="no model",
        error_code="model_unavailable",
        attempt=5,
    )
    for other in (
        JobFailedEvent.of(failed, time=datetime(2026, 1, 1, tzinfo=UTC)),
        event(is_error=True, error_message="no model"),
    ):
        with pytest.raises(ClaimError, match=r"job ada-1 was not answered: .* no model"):
            claims.answered(other)


def runs(*times, chat="bob", responses=(1, 2, 3)):
    """Turns at these (start, end)."""
    return [
        Run(chat, f"{chat}-{number}", *time, f"This is message {said} of our conversation")
        for number, (time, said) in enumerate(zip(times, responses, strict=False), 1)
    ]


def test_an_order_that_was_broken_is_noticed():
    claims.keeps_order([*runs((0, 1), (1, 2)), *runs((0, 2), (2, 4), chat="eve")])
    with pytest.raises(ClaimError, match=r"order was broken: bob-2 began 0\.50 s before bob-1"):
        claims.keeps_order(runs((0, 1), (0.5, 2)))
    with pytest.raises(ClaimError, match="order was broken: message 1 of chat bob"):
        claims.keeps_order(runs((0, 1), (1, 2), responses=(2, 1)))


def test_chats_that_waited_for_each_other_are_noticed():
    claims.runs_in_parallel([*runs((0, 1)), *runs((0.9, 2), chat="eve")])
    with pytest.raises(ClaimError, match="no two of their turns overlap"):
        claims.runs_in_parallel([*runs((0, 1), (2, 3)), *runs((1, 2), chat="eve")])


LETTER = {
    "body": "{}",
    "dead_letter_reason": "invalid_request",
    "dead_letter_error": "user_message: is missing",
}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"body": "[]"}, "is not the message that was sent"),
        ({"dead_letter_reason": "other"}, "lacks its reason"),
        ({"dead_letter_error": "-"}, "lacks its reason"),
    ],
)
def test_a_dead_letter_without_its_reason_is_noticed(change, complaint):
    claims.has_reason(LETTER, "{}", "invalid_request", "user_message")
    with pytest.raises(ClaimError, match=complaint):
        claims.has_reason({**LETTER, **change}, "{}", "invalid_request", "user_message")


@pytest.mark.parametrize(
    "received",
    [
        [],
        [event(), event()],
        [event(response="another")],
        [event(), event(job_id="stranger-1")],
    ],
)
def test_a_result_that_did_not_arrive_once_and_unchanged_is_noticed(received):
    claims.were_all_heard([event()], [event()])
    with pytest.raises(ClaimError, match="the subscriber"):
        claims.were_all_heard([event()], received)


def test_bars_share_a_scale():
    drawn = bars(runs((10, 12), (12, 14), (12, 20)), width=10)
    assert drawn == ["━━", "  ━━", "  ━━━━━━━━"]


def test_a_receiver_that_would_take_a_forged_webhook_is_noticed(monkeypatch):
    from worker.local.demo import webhook

    monkeypatch.setattr(webhook, "verify_webhook", lambda headers, body, secret: "ada-1/completed")
    receiver = webhook.Receiver()
    receiver.take({}, (EXAMPLES / "job-completed.json").read_bytes())
    with pytest.raises(ClaimError, match="another body"):
        receiver.wait_for("j-1")
    receiver._server.server_close()
