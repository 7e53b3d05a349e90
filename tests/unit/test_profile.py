import os
import subprocess
from pathlib import Path

import pytest

from worker.adapters.agent.process import agent_environment, install_launcher
from worker.adapters.agent.profile import DEFAULT_SYSTEM_PROMPT, ProfileError, load_profile
from worker.adapters.agent.sandbox import Sandbox

EXAMPLE = Path(__file__).parents[2] / "profile"


def test_without_a_folder_there_is_a_plain_profile():
    assert load_profile(None, {}).system_prompt == DEFAULT_SYSTEM_PROMPT


def test_the_example_profile_loads():
    profile = load_profile(EXAMPLE, {})
    assert profile.system_prompt != DEFAULT_SYSTEM_PROMPT
    assert "researcher" in profile.agents
    assert profile.skills == ("summarize",)


def test_servers_take_secrets_from_the_environment(tmp_path):
    (tmp_path / "mcp.json").write_text(
        '{"mcpServers": {"tickets": {"command": "t", "env": {"TOKEN": "${TICKET_TOKEN}"}}}}'
    )
    profile = load_profile(tmp_path, {"TICKET_TOKEN": 'quo"te'})
    assert profile.mcp_servers["tickets"]["env"]["TOKEN"] == 'quo"te'
    assert "quo" not in repr(profile)


def test_every_mistake_is_named_when_the_worker_starts(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "a.md").write_text("no front matter")
    (tmp_path / "agents" / "b.md").write_text("---\ndescription: [\n---\nprompt")
    (tmp_path / "skills" / "empty").mkdir(parents=True)
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"x": {"command": "${MISSING}"}}}')
    with pytest.raises(ProfileError) as caught:
        load_profile(tmp_path, {})
    text = "\n".join(caught.value.problems)
    for part in ("a.md", "b.md", "empty", "${MISSING}"):
        assert part in text


@pytest.mark.parametrize("text", ["[]", "{", '{"mcpServers": []}', "{}"])
def test_a_broken_server_file_is_named(tmp_path, text):
    (tmp_path / "mcp.json").write_text(text)
    with pytest.raises(ProfileError, match=r"mcp\.json"):
        load_profile(tmp_path, {})


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ProfileError, match="none is not a folder"):
        load_profile(tmp_path / "none", {})


def test_the_agent_s_environment_is_made_and_not_inherited(tmp_path):
    worker = {"PATH": "/bin", "SDK_CLIENT_AUTH_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s"}
    (tmp_path / "workspace").mkdir()
    made = agent_environment(tmp_path, "-p", {"ANTHROPIC_API_KEY": "k"}, worker, 2, Sandbox())
    assert made["PATH"] == "/bin"
    assert made["HOME"].startswith(str(tmp_path))
    assert not {"SDK_CLIENT_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY"} & made.keys()
    assert set(made["AGENT_LAUNCHER_KEEP"].split(",")) == made.keys() - {
        "AGENT_LAUNCHER_KEEP",
        "AGENT_LAUNCHER_CLI",
        "AGENT_LAUNCHER_WORKER",
        "AGENT_LAUNCHER_PIDFILE",
        "AGENT_LAUNCHER_PLAN",
    }


def test_an_agent_whose_worker_has_died_before_it_began_is_not_started(tmp_path):
    launcher, cli, started = install_launcher(tmp_path), tmp_path / "cli", tmp_path / "started"
    cli.write_text(f"#!/bin/sh\ntouch {started}\n")
    cli.chmod(0o700)
    (tmp_path / "workspace").mkdir()

    def status(worker):
        names = {"AGENT_LAUNCHER_CLI": str(cli), "AGENT_LAUNCHER_KEEP": "PATH"}
        names["AGENT_LAUNCHER_PIDFILE"] = str(tmp_path / "pid")
        names["AGENT_LAUNCHER_PLAN"] = Sandbox("off").plan(tmp_path, cli, {})
        environ = {**names, "PATH": os.defpath, "AGENT_LAUNCHER_WORKER": str(worker)}
        return subprocess.run([launcher], env=environ, check=False).returncode

    assert (status(os.getpid() + 1), started.exists()) == (1, False)
    assert (status(os.getpid()), started.exists()) == (0, True)
