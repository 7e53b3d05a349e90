"""All that a faithful resume needs travels: subagents' transcripts and large tool results, too."""

import json
import re
from pathlib import Path

import boto3
import pytest

from tests.integration.conftest import Bot, running
from worker.adapters.segments import decode

pytestmark = pytest.mark.integration

PROFILE = Path(__file__).parents[2] / "profile"


def transcripts(environ, session_id, folder):
    """The session's stored transcripts: subpath to entries, in the order of the segments."""
    s3, found = boto3.client("s3"), {}
    listed = s3.list_objects_v2(Bucket=environ["SESSION_BUCKET"], Prefix="sessions/")["Contents"]
    keys = sorted(o["Key"] for o in listed if session_id in o["Key"] and ".lines." in o["Key"])
    for number, key in enumerate(keys):
        path = folder / str(number)
        s3.download_file(environ["SESSION_BUCKET"], key, str(path))
        with path.open("rb") as stored:
            for part, lines in decode(stored):
                found.setdefault(part.get("subpath"), []).extend(map(json.loads, lines))
    return found


async def test_a_subagent_s_transcript_is_kept_and_restored_on_another_machine(own, tmp_path):
    bot = Bot(own)
    call = {"subagent_type": "researcher", "description": "look", "prompt": "hello subagent"}
    async with running(own, AGENT_PROFILE=str(PROFILE), WORK_DIR=str(tmp_path / "one")):
        data = await bot.ask(f"call Agent {json.dumps(call)}")
    async with running(own, AGENT_PROFILE=str(PROFILE), WORK_DIR=str(tmp_path / "two")):
        after = await bot.ask("run grep -rl 'hello subagent' ../config")
    # A background agent would have answered after the turn, to nobody.
    assert "background" not in data.response
    stored = transcripts(own, data.session_id, tmp_path)
    [subagent] = [subpath for subpath in stored if subpath]
    assert subagent.startswith("subagents/agent-")
    assert "hello subagent" in json.dumps(stored[subagent])
    assert after.session_status == "continued"
    assert f"{data.session_id}/{subagent}.jsonl" in after.response


async def test_a_large_tool_result_is_still_there_on_another_machine(own, tmp_path):
    bot = Bot(own)
    async with running(own, WORK_DIR=str(tmp_path / "one")):
        data = await bot.ask("run seq 1 30000")
        [path] = re.findall(r"saved to: (\S+)", data.response)
    assert not Path(path).exists()
    path = path.replace(str(tmp_path / "one"), str(tmp_path / "two"))
    async with running(own, WORK_DIR=str(tmp_path / "two")):
        found = await bot.ask(f"run wc -l < {path}; tail -1 {path}; ls {path}")
    assert found.response.count("30000") == 2
    assert path in found.response


async def test_skills_and_the_system_prompt_of_the_profile_are_offered(own, model):
    bot = Bot(own)
    async with running(own, AGENT_PROFILE=str(PROFILE)):
        await bot.ask("hello profile")
    [request] = model.asked("hello profile")
    text = json.dumps(request)
    assert "summarize" in text
    assert "researcher" in text
    prompt = (PROFILE / "system_prompt.md").read_text().split("\n")[0].strip("# ")
    assert prompt[:40] in text
