"""The scripted model behind the real agent CLI.

The CLI gets an environment of its own, with a scratch home and nothing but loopback to talk to.
"""

import asyncio
import os
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKError, ResultMessage, query

from tests.local.waiting import until

pytestmark = pytest.mark.integration

CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
TOOLS = ["Bash", "Write", "Read"]


@dataclass
class Agent:
    """The CLI with a fixed environment. `pid_file` holds the pid of its latest process."""

    folder: Path
    environment: dict[str, str]

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def pid_file(self) -> Path:
        return self.folder / "pid"

    async def ask(self, prompt: str, **options: Any) -> ResultMessage:
        """One turn. An API error ends in a result, too: the SDK raises after giving it."""
        result = None
        try:
            async for message in query(prompt=prompt, options=self.options(**options)):
                if isinstance(message, ResultMessage):
                    result = message
        except ClaudeSDKError:
            if result is None:
                raise
        assert result is not None
        return result

    def options(self, **options: Any) -> ClaudeAgentOptions:
        return ClaudeAgentOptions(
            cli_path=self._wrapper(),
            cwd=self.work,
            tools=TOOLS,
            allowed_tools=TOOLS,
            permission_mode="dontAsk",
            setting_sources=[],
            **options,
        )

    def _wrapper(self) -> Path:
        """Starts the CLI with this environment only; the SDK would pass on that of the tests."""
        path = self.folder / "claude"
        given = " ".join(shlex.quote(f"{key}={value}") for key, value in self.environment.items())
        path.write_text(
            f"#!/bin/sh\necho $$ >{shlex.quote(str(self.pid_file))}\n"
            f'exec env -i {given} {shlex.quote(str(CLI))} "$@"\n'
        )
        path.chmod(0o700)
        return path


def make_agent(folder: Path, **access: str) -> Agent:
    for name in ("home", "config", "work", "tmp"):
        (folder / name).mkdir()
    return Agent(
        folder,
        {
            "PATH": os.defpath,
            "HOME": str(folder / "home"),
            "CLAUDE_CONFIG_DIR": str(folder / "config"),
            "TMPDIR": str(folder / "tmp"),
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            **access,
        },
    )


@pytest.fixture
def agent(tmp_path, model):
    return make_agent(tmp_path, ANTHROPIC_BASE_URL=model.url, ANTHROPIC_API_KEY="dummy")


@pytest.fixture
def bedrock_agent(tmp_path, model):
    return make_agent(
        tmp_path,
        CLAUDE_CODE_USE_BEDROCK="1",
        ANTHROPIC_BEDROCK_BASE_URL=model.url,
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="dummy",
        AWS_SECRET_ACCESS_KEY="dummy",
    )


async def test_a_text_is_answered_and_costs_something(agent):
    result = await agent.ask("hello there")
    assert result.result == (
        "Hello! This is message 1 of our conversation. You said: 'hello there'"
    )
    assert not result.is_error
    assert result.total_cost_usd > 0


async def test_a_resumed_session_remembers_and_a_new_one_does_not(agent):
    session = (await agent.ask("my name is Ada")).session_id
    assert "Ada" in (await agent.ask("what is my name?", resume=session)).result
    assert "I don't know" in (await agent.ask("what is my name?")).result


async def test_a_file_is_written_and_read_in_the_working_directory(agent):
    result = await agent.ask("write notes.txt: two words")
    assert (agent.work / "notes.txt").read_text() == "two words\n"
    assert result.num_turns == 2
    read = await agent.ask("read notes.txt", resume=result.session_id)
    assert "two words" in read.result
    again = await agent.ask("write notes.txt: other", resume=result.session_id)
    assert "returned" in again.result
    assert (agent.work / "notes.txt").read_text() == "other\n"


async def test_a_command_is_run_and_its_output_quoted(agent):
    assert (await agent.ask("run echo $((6 * 7))")).result == "Bash returned: 42"


async def test_steps_are_turns(agent):
    result = await agent.ask("steps: run echo a >> f; run echo b >> f; run cat f")
    assert result.result.splitlines()[-2:] == ["Bash returned: a", "b"]
    assert result.num_turns == 4


async def test_a_limit_on_turns_is_reached(agent):
    result = await agent.ask("steps: run true; run true; run true", max_turns=2)
    assert result.subtype == "error_max_turns"


async def test_structured_output_fits_the_schema(agent):
    schema = {
        "type": "object",
        "properties": {
            "answer": {"type": "string"},
            "count": {"type": "integer", "minimum": 3},
            "mood": {"enum": ["good", "bad"]},
        },
        "required": ["answer", "count", "mood"],
    }
    result = await agent.ask(
        "my name is Ada", output_format={"type": "json_schema", "schema": schema}
    )
    assert result.structured_output == {
        "answer": "I will remember: my name is Ada.",
        "count": 3,
        "mood": "good",
    }


@pytest.mark.parametrize("status", [400, 429, 500, 529])
async def test_an_error_status_is_an_api_error(agent, status):
    result = await agent.ask(f"hello [[status {status}]]")
    assert result.is_error
    assert result.api_error_status == status


async def test_a_lost_connection_is_an_api_error_without_a_status(agent):
    result = await agent.ask("hello [[disconnect]]")
    assert result.is_error
    assert result.api_error_status is None


async def test_the_cli_retries_until_a_fault_is_over(agent):
    agent.environment["CLAUDE_CODE_MAX_RETRIES"] = "2"
    result = await agent.ask("retried by the CLI [[status 529 times 1]]")
    assert not result.is_error


async def test_history_survives_a_compaction(agent):
    session = (await agent.ask("my name is Ada")).session_id
    await agent.ask("/compact", resume=session)
    assert "Ada" in (await agent.ask("what is my name?", resume=session)).result


async def test_steps_go_on_after_the_cli_was_killed_inside_one(agent):
    session = (await agent.ask("hello")).session_id
    (transcript,) = agent.folder.rglob(f"{session}.jsonl")
    wait = "until [ -e go ]; do sleep 0.05; done"
    steps = f"steps: run echo 1 >> f; run echo 2 >> f; {wait}; run echo 3 >> f"
    turn = asyncio.create_task(agent.ask(steps, resume=session))
    file = agent.work / "f"
    await until(lambda: file.exists() and file.read_text() == "1\n2\n")
    # The transcript is written behind the work: a tool may have begun before its call is in it.
    await until(lambda: transcript.read_text().count('"type":"tool_use"') == 2)
    os.kill(int(agent.pid_file.read_text()), signal.SIGKILL)
    with pytest.raises(ClaudeSDKError):
        await turn
    (agent.work / "go").touch()  # ends the command, which the CLI's death does not
    result = await agent.ask("Continue where you left off.", resume=session)
    assert file.read_text() == "1\n2\n3\n"
    assert "its outcome is unknown" in result.result


async def test_bedrock_answers_texts_and_calls_tools(bedrock_agent):
    result = await bedrock_agent.ask("my name is Ada")
    assert not result.is_error
    assert result.total_cost_usd > 0
    ran = await bedrock_agent.ask("run echo $((6 * 7))", resume=result.session_id)
    assert ran.result == "Bash returned: 42"
    asked = await bedrock_agent.ask("what is my name?", resume=result.session_id)
    assert "Ada" in asked.result


async def test_an_error_status_of_bedrock_is_an_api_error(bedrock_agent):
    result = await bedrock_agent.ask("hello [[status 429]]")
    assert result.is_error
    assert result.api_error_status == 429
