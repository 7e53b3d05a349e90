"""Starting, recognizing and ending processes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.local.waiting import until
from worker.local.errors import LocalStackError
from worker.local.model.server import ScriptedModel
from worker.local.processes import (
    Service,
    choose_port,
    launch,
    start_service,
    start_time,
    stop,
)

pytestmark = pytest.mark.integration

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def start(tmp_path):
    services = []

    def start(code: str, **env: str) -> Service:
        service = launch(
            "program",
            [sys.executable, "-c", code],
            env=env,
            cwd=tmp_path,
            log=tmp_path / "program.log",
            url="http://127.0.0.1:9",
        )
        services.append(service)
        return service

    yield start
    for service in services:
        stop(service)


def test_a_process_is_alive_until_it_is_stopped(start):
    service = start(SLEEP)
    assert service.is_alive()
    assert stop(service)
    assert not service.is_alive()
    assert not stop(service)


def test_a_later_process_with_the_same_pid_is_left_alone(start):
    service = start(SLEEP)
    earlier = replace(service, started="1@earlier")
    assert not earlier.is_alive()
    assert not stop(earlier)
    assert service.is_alive()


def test_start_times_tell_processes_apart(start):
    assert start_time(os.getpid()) == start_time(os.getpid())
    assert start_time(os.getpid()) != start_time(start(SLEEP).pid)
    assert start_time(2**22 + 1) is None


async def test_a_process_that_ended_by_itself_is_not_alive(start):
    service = start("")
    await until(lambda: not service.is_alive())


async def test_what_a_process_started_ends_with_it(start):
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])"
    service = start(script)
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children")
    await until(children.read_text)
    child = int(children.read_text())
    stop(service)
    await until(lambda: start_time(child) is None)


async def test_a_process_that_ignores_sigterm_is_killed(start, tmp_path):
    ready = tmp_path / "ready"
    service = start(
        f"import signal, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(ready)!r}).touch(); {SLEEP}"
    )
    await until(ready.exists)
    assert stop(service, grace_seconds=0.2)
    assert not service.is_alive()


async def test_it_outlives_a_signal_to_its_starter(start):
    assert os.getsid(start(SLEEP).pid) != os.getsid(0)


async def test_its_environment_is_what_is_given_and_nothing_else(start, tmp_path):
    service = start("import os; print(sorted(os.environ))", ONLY="1", LC_CTYPE="C.UTF-8")
    await until(lambda: not service.is_alive())
    assert (tmp_path / "program.log").read_text() == "['LC_CTYPE', 'ONLY']\n"


def test_a_service_is_started_when_it_answers(tmp_path):
    port = choose_port("x", 0)
    serving = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    place = {"cwd": tmp_path, "log": tmp_path / "log", "url": f"http://127.0.0.1:{port}"}
    service = start_service("program", serving, env={}, health="/", **place)
    assert stop(service)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise SystemExit('no luck')", r"(?s)program ended while starting.*no luck"),
        (SLEEP, r"did not answer http://127\.0\.0\.1:9/health within"),
    ],
)
def test_a_service_that_does_not_answer_is_reported_and_ended(tmp_path, code, problem):
    place = {"cwd": tmp_path, "log": tmp_path / "log", "url": "http://127.0.0.1:9"}
    code = f"import os; open('pid', 'w').write(str(os.getpid())); {code}"
    with pytest.raises(LocalStackError, match=problem):
        start_service(
            "program", [sys.executable, "-c", code], env={}, health="/health", seconds=1, **place
        )
    assert start_time(int((tmp_path / "pid").read_text())) is None


def test_a_free_port_is_chosen():
    assert choose_port("x", 0) > 0


def test_a_port_in_use_is_refused_with_its_number():
    with ScriptedModel() as model:
        port = int(model.url.rpartition(":")[2])
        with pytest.raises(LocalStackError, match=f"port {port} for x cannot be used"):
            choose_port("x", port)


def test_the_state_of_a_killed_child_is_told_without_waiting_for_it():
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as child:
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(child.pid) is None  # a zombie
