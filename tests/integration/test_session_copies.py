"""Copies of a session are faithful: the CLI resumes them, and the model is shown what it was."""

import copy
import json
import subprocess
import sys
import uuid

import pytest

from tests.integration.conftest import Bot

pytestmark = pytest.mark.integration


def agent_worker(environ, *arguments, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def shown(model, marker):
    """The conversation before the message with `marker`, as the model was shown it."""
    for request in model.asked(marker):
        messages = request["messages"]
        for n, message in enumerate(messages):
            if message["role"] == "user" and marker in json.dumps(message):
                return [plain(message) for message in messages[:n]]
    raise AssertionError(f"the model was never asked {marker}")


def plain(message):
    """A message without what is about its transport."""
    message = copy.deepcopy(message)
    if isinstance(message["content"], str):
        message["content"] = [{"type": "text", "text": message["content"]}]
    for block in message["content"]:
        block.pop("cache_control", None)
    return message


class Conversation:
    """A chat of five turns, with tools and files."""

    def __init__(self, environ):
        self.bot = Bot(environ)
        self.chat = self.bot.chat
        self.third = f"third {uuid.uuid4().hex}"
        self.ask("my name is Ada")
        self.ask("write notes.txt: buy milk")
        self.ask(self.third)
        self.ask("my name is Eve")
        self.last = self.ask("goodbye")

    def ask(self, text, chat=None, **fields):
        return self.bot.producer.wait(self.bot.send(text, chat, **fields), 60).data


@pytest.fixture(scope="module")
def conversation(environ, host):
    return Conversation(environ)


def test_a_fork_from_a_turn_shows_the_model_what_it_was_shown_then(environ, model, conversation):
    chat = f"{conversation.chat}f"
    said = agent_worker(
        environ, "sessions", "fork", conversation.chat, "--to-chat", chat, "--turn", "2"
    )
    assert "2 turns" in said
    marker = f"instead {uuid.uuid4().hex}"
    conversation.ask(marker, chat)
    assert shown(model, marker) == shown(model, conversation.third)
    answer = conversation.ask("what is my name? and run cat notes.txt || echo none", chat)
    assert "Ada" in answer.response
    assert answer.session_id != conversation.last.session_id
    listing = conversation.ask("run ls", chat)
    assert "notes.txt" not in listing.response, "files of a later state than the history"


def test_a_fork_is_refused_where_it_would_replace_a_session_or_has_no_such_turn(
    environ, conversation
):
    source = ("sessions", "fork", conversation.chat, "--to-chat")
    said = agent_worker(environ, *source, f"{conversation.chat}x", "--turn", "6", status=1)
    assert "turns 1 to 5" in said
    assert "itself" in agent_worker(environ, *source, conversation.chat, status=1)


def test_an_exported_session_goes_on_where_it_was_after_all_was_deleted(
    environ, model, conversation, tmp_path
):
    chat, file = f"{conversation.chat}e", str(tmp_path / "session.tar")
    agent_worker(environ, "sessions", "fork", conversation.chat, "--to-chat", chat)
    last = conversation.ask("hello", chat)
    agent_worker(environ, "sessions", "export", chat, "--out", file)
    agent_worker(environ, "sessions", "delete", chat, "--yes")
    assert "no session" in agent_worker(environ, "sessions", "transcript", chat, status=1)
    agent_worker(environ, "sessions", "import", file)
    marker = f"after {uuid.uuid4().hex}"
    result = conversation.ask(marker, chat)
    files = conversation.ask("run cat notes.txt", chat)
    assert (result.session_id, result.session_status) == (last.session_id, "continued")
    assert "buy milk" in files.response
    texts = json.dumps(shown(model, marker))
    assert "my name is Ada" in texts
    assert "my name is Eve" in texts
    turns = json.loads(agent_worker(environ, "sessions", "transcript", chat, "--json"))["turns"]
    assert [turn["turn"] for turn in turns] == list(range(1, 9))
    [call] = [remark for remark in turns[1]["remarks"] if remark["kind"] == "call"]
    assert call["name"] == "Write"


def test_a_session_can_be_carried_to_another_chat_of_another_tenant(
    environ, conversation, tmp_path
):
    file, tenant = str(tmp_path / "session.tar"), f"t{conversation.chat[:8]}"
    agent_worker(environ, "sessions", "export", conversation.chat, "--out", file)
    again = agent_worker(environ, "sessions", "export", conversation.chat, "--out", file, status=1)
    assert "--overwrite" in again
    target = ("--to-chat", "elsewhere", "--to-tenant", tenant)
    agent_worker(environ, "sessions", "import", file, *target)
    assert "--replace" in agent_worker(environ, "sessions", "import", file, *target, status=1)
    result = conversation.ask("what is my name?", "elsewhere", tenant_id=tenant)
    assert result.response == "You told me that your name is Eve."
    assert result.session_id != conversation.last.session_id


def test_a_request_forks_a_chat_which_stays_as_it_is(model, conversation):
    """The CLI resumes it, files and all, and the model is shown what it was shown there."""
    chat, source = f"{conversation.chat}r", {"chat_id": conversation.chat}
    here, there = f"here {uuid.uuid4().hex}", f"there {uuid.uuid4().hex}"
    source |= {"session_id": conversation.last.session_id}
    forked = conversation.ask(there, chat, session="fork", fork_of=source)
    assert (forked.is_error, forked.session_status) == (False, "forked")
    assert forked.session_id != conversation.last.session_id
    assert "buy milk" in conversation.ask("run cat notes.txt", chat).response
    after = conversation.ask(f"what is my name? {here}")
    assert after.session_id == conversation.last.session_id
    assert shown(model, here) == shown(model, there)


def test_a_fork_of_what_is_not_there_is_rejected(conversation):
    source = {"chat_id": f"{conversation.chat}-nobody"}
    job = conversation.bot.send("hello", f"{conversation.chat}q", session="fork", fork_of=source)
    event = conversation.bot.producer.wait(job, 60)
    assert (event.type, event.data.reason) == ("agent.job.rejected", "session_not_found")
