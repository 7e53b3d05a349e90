"""A host's start imports what its first turn needs, and the rest when it is needed."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from worker.entrypoints.cli import COMMANDS, GROUPS, command_line

LATE = {
    "boto3",
    "botocore.session",
    "mcp",
    "jsonschema",
    "httpx",
    "yaml",
    "PIL",
    "rich",
    "zstandard",
}
HOST = "import worker.bootstrap, worker.entrypoints.host, worker.webhook_bootstrap"
RUN = "from worker.entrypoints.cli import command_line; command_line('run')"
LAMBDA = "import worker.entrypoints.webhook_lambda"


def imported(code):
    told = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True, env={}
    )
    return set(done.stdout.split())


def test_a_host_is_wired_before_boto3_is_imported():
    modules = imported(HOST)
    assert "claude_agent_sdk" in modules
    assert modules.isdisjoint(LATE - {"zstandard"})


def test_run_imports_no_other_command():
    modules = imported(RUN)
    assert modules.isdisjoint(LATE)
    ours = {name for name in modules if name.startswith("worker.entrypoints.cli.")}
    assert ours == {"worker.entrypoints.cli.host"}


def test_deliveries_of_webhooks_need_no_agent():
    assert "claude_agent_sdk" not in imported(LAMBDA)


@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_each_command_is_the_same_alone_and_among_all(name):
    def told(wanted):
        done = CliRunner().invoke(command_line(wanted), [name, "--help"], env={"COLUMNS": "80"})
        assert done.exit_code == 0
        return done.output

    assert told(name) == told(None)
    assert f"agent-worker {name}" in told(name)


def test_a_misspelled_command_is_told_all_that_there_are():
    done = CliRunner().invoke(command_line("runn"), ["runn"])
    assert done.exit_code == 2
    assert "run" in done.output
