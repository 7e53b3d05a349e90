"""The commands as a person and a script use them, on a stack of their own."""

import json
import os
import signal
import subprocess
import sys

import pytest

from contracts.temporary_queue import NAME_PREFIX
from tests.conftest import EMULATOR_ENVIRONMENT
from worker.local.environment_file import read_environment_file

pytestmark = pytest.mark.integration


def agent_worker(*arguments, environ=None, cwd=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **(environ or {})},
        capture_output=True,
        text=True,
        timeout=100,
        cwd=cwd,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def stack(scratch_environment, tmp_path_factory):
    """A stack by `up --detach`, and a worker by `run` with nothing but its file's environment."""
    folder = tmp_path_factory.mktemp("stack")
    state = folder / "state"
    state.mkdir()
    (state / "ministack-env").symlink_to(EMULATOR_ENVIRONMENT)
    started = agent_worker(
        "up", "--detach", "--env-file", "E", "--state-dir", str(state), cwd=folder
    )
    assert started.returncode == 0, started.stderr
    environ = {
        **read_environment_file(folder / "E"),
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
    }
    worker = subprocess.Popen(
        [sys.executable, "-m", "worker", "run"],
        env={**environ, "POLL_SECONDS": "1"},
        stdout=subprocess.DEVNULL,
    )
    yield folder, environ
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    ended = agent_worker("down", "--state-dir", str(state))
    assert "ministack" in ended.stdout
    assert "nothing was up" in agent_worker("down", "--state-dir", str(state)).stdout


def test_send_and_wait_prints_the_answer(stack):
    _, environ = stack
    done = agent_worker("send", "--chat", "1", "--wait", "hello", environ=environ)
    assert done.returncode == 0, done.stderr
    assert "You said: 'hello'" in done.stdout


def test_json_is_one_event_and_nothing_else(stack):
    _, environ = stack
    done = agent_worker("send", "--chat", "2", "--wait", "--json", "hello", environ=environ)
    assert json.loads(done.stdout)["data"]["chat_id"] == "2"


def test_without_wait_the_job_id_is_printed(stack):
    _, environ = stack
    done = agent_worker("send", "--json", "--thread", "9", "hello", environ=environ)
    assert json.loads(done.stdout)["message_group_id"] == "1:9"


def test_a_rejected_message_is_an_error_with_what_to_do(stack):
    _, environ = stack
    done = agent_worker("send", "--wait", "--model", "gpt-4", "hello", environ=environ)
    assert done.returncode == 3
    assert "gpt-4" in done.stderr
    assert "sonnet" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (["--options", "{", "x"], "--options"),
        (["--options", '{"max_turns": "many"}', "x"], "max_turns"),
        (["--chat", "", "x"], "chat_id"),
        ([" "], "user_message"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(stack, arguments, mentions):
    _, environ = stack
    done = agent_worker("send", *arguments, environ=environ)
    assert done.returncode == 1
    assert mentions in done.stderr
    assert "Traceback" not in done.stderr


def test_send_without_an_environment_says_which_setting_is_missing():
    done = agent_worker("send", "hello")
    assert done.returncode == 1
    assert "QUEUE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_send_to_a_queue_that_is_not_there_is_a_plain_error(stack):
    _, environ = stack
    wrong = {**environ, "QUEUE_URL": environ["QUEUE_URL"].replace("Queue", "Nothing")}
    done = agent_worker("send", "hello", environ=wrong)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_tail_follows_results_and_leaves_no_queue_behind(stack):
    _, environ = stack
    tail = subprocess.Popen(
        [sys.executable, "-m", "worker", "tail", "--json"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "following" in tail.stderr.readline()
        agent_worker("send", "--wait", "--chat", "t", "hello", environ=environ)
        assert json.loads(tail.stdout.readline())["data"]["chat_id"] == "t"
    finally:
        tail.send_signal(signal.SIGINT)
        tail.communicate(timeout=30)
    import boto3

    sqs = boto3.client("sqs", endpoint_url=environ["AWS_ENDPOINT_URL"])
    assert not sqs.list_queues(QueueNamePrefix=NAME_PREFIX).get("QueueUrls")


def test_up_again_says_that_it_is_up_and_writes_the_same_environment(stack):
    folder, environ = stack
    again = agent_worker("up", "--detach", "--env-file", "E2", "--state-dir", "state", cwd=folder)
    assert "up already" in again.stdout
    assert read_environment_file(folder / "E2")["QUEUE_URL"] == environ["QUEUE_URL"]


def test_real_needs_access_to_a_model(tmp_path):
    done = agent_worker("up", "--real", "--detach", cwd=tmp_path)
    assert done.returncode == 1
    assert "ANTHROPIC_API_KEY" in done.stderr


def test_help_teaches(tmp_path):
    done = agent_worker("--help")
    assert "agent-worker up --detach" in done.stdout
