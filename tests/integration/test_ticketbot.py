"""TicketBot in a terminal, as a person uses it, with the real queue, worker and agent."""

import os
import re
import signal
import subprocess
import sys
import uuid

import pytest

from contracts.temporary_queue import NAME_PREFIX
from tests.conftest import ROOT
from tests.terminal import Terminal

pytestmark = pytest.mark.integration

BOT = [sys.executable, str(ROOT / "examples" / "ticketbot.py")]


@pytest.fixture
def chats():
    """Two chats that no other test uses."""
    return [f"ada-{uuid.uuid4().hex[:6]}", f"bob-{uuid.uuid4().hex[:6]}"]


def queues(environ):
    import boto3

    return boto3.client("sqs").list_queues(QueueNamePrefix=NAME_PREFIX).get("QueueUrls", [])


def test_a_person_talks_in_two_chats_and_a_thread_watches_stops_and_starts_over(
    environ, host, chats
):
    ada, bob = chats
    with Terminal(BOT, environ) as screen:
        screen.until(r"^main>$")
        screen.type(f"/chat {ada}")
        screen.type("my name is Ada")
        screen.until(r"^bot> I will remember: my name is Ada\.\n +\d+\.\d s  \$0\.\d+  total \$0")

        # A thread has a memory of its own.
        screen.type("/thread trip")
        screen.until(rf"^{ada}/trip>$")
        screen.type("what is my name?")
        screen.until(r"^bot> I don't know what your name is")
        screen.type("/thread")

        # What a tool does is shown while it runs, and one can go on typing elsewhere meanwhile.
        screen.type("steps: run sleep 1; run echo done")
        screen.until(r"^ +· Bash")
        screen.until(rf"^   . working in {ada}, \d s$")
        screen.type(f"/chat {bob}")
        screen.type("hello")
        screen.until(r"^bot> Hello! This is message 1 of our conversation")
        screen.until(rf"^bot> in {ada}: Bash returned:")

        # What is under way is stopped; the conversation goes on.
        screen.type("hello again [[delay 60]]")
        screen.until(rf"^   . thinking in {bob}, \d s$")
        screen.type("/cancel")
        screen.until(r"^   ! stopped: ")
        screen.type(f"/chat {ada}")
        screen.type("what is my name?")
        screen.until(r"^bot> You told me that your name is Ada\.")

        # Start over.
        screen.type("/new")
        screen.type("what is my name?")
        screen.until(r"^the next message starts a new conversation$")
        screen.until(rf"^{ada}> what is my name\?\n.*\n*bot> I don't know what your name is")

        screen.type("hello [[status 400]]")
        screen.until(r"^   ! no answer: the model did not answer")
        screen.type("/nonsense")
        screen.until(r"/nonsense\n/chat NAME")
        screen.type("/quit")
        assert screen.end() == 0
    assert "Traceback" not in screen.text()


def test_an_answer_is_seen_as_it_is_written(environ, host, chats):
    with Terminal(BOT, environ) as screen:
        screen.type(f"/chat {chats[0]}")
        screen.type("hello [[slow 0.3]] [[long 400]]")
        screen.until(rf"^   . typing in {chats[0]}, \d s\n     .*Hello")
        screen.press("\x03")  # Ctrl-C: the person goes, the turn does not
        assert screen.end() == 0
    assert f"an answer in {chats[0]} is still on its way" in screen.text()


def test_an_answer_cannot_play_with_the_terminal(environ, host, chats):
    with Terminal(BOT, environ) as screen:
        screen.type(f"/chat {chats[0]}")
        screen.type("run printf '\\033[2J\\033]0;owned\\007still here'")
        screen.until(r"^bot> Bash returned: .*still here")
        assert f"/chat {chats[0]}" in screen.text()  # the screen was not cleared
        screen.press("\x04")  # Ctrl-D
        assert screen.end() == 0


def test_a_script_is_answered_line_by_line(environ, host, chats):
    done = subprocess.run(
        BOT,
        env=environ,
        input=f"/chat {chats[0]}\nmy name is Ada\n\nwhat is my name\n/quit\nnot read",
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    lines = done.stdout.splitlines()
    asked = lines.index(f"{chats[0]}> what is my name")
    assert lines[asked + 1] == "bot> You told me that your name is Ada."
    assert re.fullmatch(r" +\d+\.\d s  \$0\.\d{4}  total \$0\.\d{4}", lines[asked + 2])
    assert "not read" not in done.stdout
    assert done.stderr == ""


def test_what_cannot_be_sent_is_said_and_the_chat_goes_on(environ):
    wrong = {**environ, "QUEUE_URL": environ["QUEUE_URL"].replace("Queue", "Nothing")}
    done = subprocess.run(
        BOT,
        env=wrong,
        input="hello\n/help\n",
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "! that did not work: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_stack_that_has_ended_is_a_plain_error(environ):
    gone = {**environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        BOT, env=gone, input="", capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Could not connect to the endpoint")
    assert "Traceback" not in done.stderr


def test_a_bot_that_is_terminated_leaves_no_queue(environ, host):
    before = set(queues(environ))
    bot = subprocess.Popen(
        BOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert b"/chat" in bot.stdout.readline()
    assert len(set(queues(environ)) - before) == 1
    bot.send_signal(signal.SIGTERM)
    _, errors = bot.communicate(timeout=60)
    assert errors == b""
    assert set(queues(environ)) == before


def test_it_is_short_enough_to_be_copied_and_needs_nothing_of_the_worker():
    source = (ROOT / "examples" / "ticketbot.py").read_text()
    assert len(source.splitlines()) < 200
    imported = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"contracts", "prompt_toolkit", "rich"}


def test_without_a_stack_it_brings_its_own_and_ends_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "worker.local.ticketbot", "--state-dir", str(tmp_path / "state")],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "starting ministack ..." in done.stdout
    assert "bot> Hello! This is message 1 of our conversation." in done.stdout
    assert not (tmp_path / "state" / "stack.json").exists()
    assert max(map(len, done.stdout.splitlines())) <= 80
