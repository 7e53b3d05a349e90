"""What a restored session asks the model is what the session itself would have asked."""

import io
import json
import os
import shutil
import uuid

import pytest
from claude_agent_sdk import AgentDefinition, ClaudeAgentOptions, ClaudeSDKClient, ResultMessage

from worker.adapters.agent.process import FIXED_ENVIRONMENT
from worker.adapters.segments import restore
from worker.adapters.transcript import Transcript

pytestmark = pytest.mark.integration

PROJECT = "-tmp-workspace"
SUBAGENT = {"subagent_type": "helper", "description": "look", "prompt": "hello subagent"}
STEPS = "steps: " + "; ".join(f"run echo {n}" for n in range(8))
CONVERSATIONS = {
    "short": ["my name is Ada"],
    "long": [f"remember fact {n} is {n}" for n in range(30)],
    "compacted": [*(f"hello {n}" for n in range(8)), "run echo a", "/compact", "and then"],
    "compacted twice": ["one", "two", "/compact", "three", "run echo b", "/compact", "four"],
    "compacted at the end": ["one", "two", "run echo c", "/compact"],
    "tool-heavy": [STEPS, "run seq 1 20000", "write notes.txt: x", "read notes.txt"],
    "subagent": [f"call Agent {json.dumps(SUBAGENT)}", "hello"],
}


class Session:
    """The CLI in a directory that stays: each process of it sees the same paths."""

    def __init__(self, folder, model):
        self.folder, self.model = folder, model
        self.id = str(uuid.uuid4())
        self.projects = folder / "config" / "projects"
        for part in ("workspace", "home", "config"):
            (folder / part).mkdir()

    def options(self, **changes):
        tools = ["Read", "Write", "Bash", "Agent"]
        return ClaudeAgentOptions(
            model="sonnet",
            system_prompt="You are a helper.",
            tools=tools,
            allowed_tools=tools,
            agents={"helper": AgentDefinition(description="helps", prompt="Help.")},
            permission_mode="dontAsk",
            strict_mcp_config=True,
            setting_sources=[],
            cwd=self.folder / "workspace",
            env={
                **FIXED_ENVIRONMENT,
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder / "home"),
                "CLAUDE_CONFIG_DIR": str(self.folder / "config"),
                "CLAUDE_CODE_PROJECT_DIR_NAME": PROJECT,
                "ANTHROPIC_API_KEY": "dummy",
                "ANTHROPIC_BASE_URL": self.model.url,
            },
            **changes,
        )

    async def told(self, texts):
        """The transcript of a conversation, as the CLI mirrors it."""
        transcript = Transcript()
        store = {"session_store": transcript, "session_store_flush": "eager"}
        async with ClaudeSDKClient(self.options(session_id=self.id, **store)) as client:
            for text in texts:
                await client.query(text)
                async for message in client.receive_response():
                    if isinstance(message, ResultMessage):
                        assert not message.is_error, message
        return transcript

    async def asks(self, text):
        """What the model is asked when the session goes on with this."""
        async with ClaudeSDKClient(self.options(resume=self.id)) as client:
            await client.query(text)
            async for _ in client.receive_response():
                pass
        [asked] = self.model.asked(text)
        return {name: asked[name] for name in ("messages", "system", "tools", "model")}

    def restored(self, stored):
        """Only what the bucket holds: large results are files there, and stay."""
        for path in self.projects.rglob("*.jsonl"):
            path.unlink()
        for path in self.projects.rglob("subagents"):
            shutil.rmtree(path)
        segment = self.folder / f"segment-{uuid.uuid4().hex}"
        segment.write_bytes(stored)
        restore([segment], self.projects, PROJECT)


@pytest.fixture
def session(tmp_path, model):
    return Session(tmp_path, model)


@pytest.mark.parametrize("kind", CONVERSATIONS)
async def test_the_model_is_asked_the_same_after_a_restore(session, kind):
    transcript = await session.told(CONVERSATIONS[kind])
    kept = session.folder / "kept"
    shutil.copytree(session.projects, kept)
    question = f"what did I say first, {uuid.uuid4().hex}"
    expected = await session.asks(question)
    shutil.rmtree(session.projects)
    shutil.copytree(kept, session.projects)
    whole, trimmed = io.BytesIO(), io.BytesIO()
    transcript.delta(whole)
    assert transcript.trimmed(trimmed) == kind.startswith("compacted")
    session.restored(trimmed.getvalue() or whole.getvalue())
    again = question + " "  # another text, for the model's record; the same to compare
    found = await session.asks(again)
    assert json.loads(json.dumps(found).replace(again, question)) == expected
    assert len(trimmed.getvalue()) < len(whole.getvalue())
