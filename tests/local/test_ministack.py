"""The emulator: its installation and its life."""

import http.client
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.conftest import EMULATOR_ENVIRONMENT
from worker.local import ministack as module
from worker.local.errors import LocalStackError
from worker.local.ministack import install, ministack, start
from worker.local.processes import stop

pytestmark = pytest.mark.integration


@pytest.fixture
def fake_uv(tmp_path, monkeypatch):
    """A `uv` that records its calls, and does what `behave` says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"

    def behave(script: str) -> Path:
        uv = folder / "uv"
        uv.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n{script}\n')
        uv.chmod(0o700)
        return calls

    monkeypatch.setattr(module.sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", f"{folder}:{os.defpath}")
    return behave


MAKES_PYTHON = 'if [ "$1" = venv ]; then mkdir -p "$5/bin"; touch "$5/bin/python"; fi'


def test_an_installed_emulator_runs_on_loopback_and_ends(tmp_path):
    told: list[str] = []
    with ministack(tmp_path, EMULATOR_ENVIRONMENT, progress=told.append) as service:
        host, port = service.url.removeprefix("http://").split(":")
        assert host == "127.0.0.1"
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/_ministack/health")
        assert connection.getresponse().status == 200
        connection.close()
        environment = Path(f"/proc/{service.pid}/environ").read_text()
        assert "AWS_" not in environment
    assert not service.is_alive()
    again: list[str] = []
    install(EMULATOR_ENVIRONMENT, again.append)
    assert again == []


def test_it_listens_on_loopback_only(tmp_path):
    with ministack(tmp_path, EMULATOR_ENVIRONMENT) as service:
        sockets = {
            str(link.readlink())
            for link in Path(f"/proc/{service.pid}/fd").iterdir()
            if stat.S_ISSOCK(link.stat().st_mode)
        }
        listening = [
            fields[1]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if (fields := line.split())[3] == "0A" and f"socket:[{fields[9]}]" in sockets
        ]
    assert [address.split(":")[0] for address in listening] == ["0100007F"]


def test_two_run_beside_each_other(tmp_path):
    with (
        ministack(tmp_path / "a", EMULATOR_ENVIRONMENT) as first,
        ministack(tmp_path / "b", EMULATOR_ENVIRONMENT) as second,
    ):
        assert first.url != second.url


def test_a_port_in_use_is_refused(tmp_path):
    with ministack(tmp_path / "a", EMULATOR_ENVIRONMENT) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(LocalStackError, match=f"port {port} for the AWS emulator"):
            start(tmp_path / "b", EMULATOR_ENVIRONMENT / "bin" / "python", port=port)


def test_a_broken_installation_is_reported_with_the_log(tmp_path):
    with pytest.raises(LocalStackError, match="ministack ended while starting"):
        stop(start(tmp_path, Path("/bin/false")))


def test_it_is_installed_once_from_the_lock_file_with_hashes(tmp_path, fake_uv):
    calls = fake_uv(MAKES_PYTHON)
    told: list[str] = []
    for _ in range(2):
        install(tmp_path / "env", told.append)
    venv, sync = calls.read_text().splitlines()
    assert venv.startswith("venv --quiet --python")
    assert sync.startswith("pip sync --quiet --require-hashes")
    assert sync.endswith("worker/local/ministack.txt")
    assert len(told) == 1


def test_another_lock_file_is_installed_anew(tmp_path, fake_uv):
    calls = fake_uv(MAKES_PYTHON)
    install(tmp_path / "env", print)
    (tmp_path / "env" / "installed-from").write_text("another")
    install(tmp_path / "env", print)
    assert len(calls.read_text().splitlines()) == 4


def test_a_failed_installation_is_reported_and_repeated(tmp_path, fake_uv):
    fake_uv("echo 'hash mismatch' >&2; exit 2")
    with pytest.raises(LocalStackError, match=r"(?s)ended with 2.*hash mismatch"):
        install(tmp_path / "env", print)
    calls = fake_uv(MAKES_PYTHON)
    install(tmp_path / "env", print)
    assert len(calls.read_text().splitlines()) == 3


def test_a_missing_uv_is_reported(tmp_path, fake_uv, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalStackError, match="uv is needed"):
        install(tmp_path / "env", print)


def test_every_locked_requirement_has_a_hash():
    requirements = [
        line for line in module.LOCK_FILE.read_text().splitlines() if line[:1].isalpha()
    ]
    assert requirements
    assert all(line.endswith("\\") for line in requirements)


def test_the_emulator_that_is_locked_is_the_one_that_is_asked_for():
    asked = module.LOCK_FILE.with_suffix(".in").read_text().split()[0]
    locked = subprocess.run(
        ["grep", "-o", "^ministack==[^ ]*", module.LOCK_FILE],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert locked == asked
