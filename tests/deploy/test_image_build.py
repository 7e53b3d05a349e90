"""The Dockerfile, as far as it can be checked without Docker. scripts/lint-image does its steps."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.deploy.templates import ROOT
from worker.adapters.agent.profile import load_profile

DOCKERFILE = (ROOT / "Dockerfile").read_text()
CHECK = ROOT / "infra" / "check_cli_version.py"


def sources():
    """What the build takes from the project."""
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        yield from line.split()[:-1]
    yield from re.findall(r"--mount=type=bind,source=([^,\s]+)", DOCKERFILE)


def test_hadolint_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_build_sees_what_it_copies_and_nothing_else():
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(allowed) == sorted(sources())
    assert all((ROOT / source).exists() for source in sources())


def test_the_image_runs_the_same_handler_as_the_deployment():
    [command] = re.findall(r'^CMD \["(.+)"\]$', DOCKERFILE, re.MULTILINE)
    assert command in (ROOT / "serverless.yml").read_text()


def test_the_example_profile_loads():
    profile = load_profile(ROOT / "profile", {})
    assert set(profile.agents) == {"researcher"}
    assert profile.skills == ("summarize",)
    assert profile.mcp_servers == {}
    assert "{workspace}" in profile.system_prompt


def check_cli_version(path):
    return subprocess.run(
        [sys.executable, CHECK],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.integration
def test_another_cli_than_the_sdks_fails_the_build(tmp_path):
    claude = tmp_path / "claude"
    claude.write_text("#!/bin/sh\necho '1.0.0 (Claude Code)'\n")
    claude.chmod(0o755)
    done = check_cli_version(tmp_path)
    assert done.returncode == 1
    assert "is version '1.0.0', and the SDK was built with" in done.stderr


@pytest.mark.integration
def test_an_image_without_a_cli_on_path_fails_the_build(tmp_path):
    done = check_cli_version(tmp_path)
    assert done.returncode == 1
    assert "is not on PATH" in done.stderr


@pytest.mark.integration
def test_the_sdks_own_cli_passes(tmp_path):
    sdk = find_spec("claude_agent_sdk")
    bundled = Path(sdk.origin).with_name("_bundled") / "claude"
    (tmp_path / "claude").symlink_to(bundled)
    done = check_cli_version(tmp_path)
    assert done.returncode == 0, done.stderr
