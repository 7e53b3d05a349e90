import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts import deduplication_id, event_id, message_group_id, session_key

SQS_ID = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")

# Few characters, and those that matter, so that near collisions are common.
ids = st.text(st.sampled_from("a1:/~%.é\ud800"), min_size=1, max_size=4) | st.text(min_size=1)
long_ids = st.text(st.sampled_from("ab:~"), min_size=100, max_size=600)
any_id = ids | long_ids
conversations = st.tuples(any_id, st.none() | any_id, st.just("default") | ids)


@pytest.mark.parametrize(
    ("chat", "thread", "tenant", "group", "key"),
    [
        ("123", None, "default", "123", "default/123"),
        ("123", "456", "default", "123:456", "default/123:456"),
        ("123", "456", "acme", "acme/123:456", "acme/123:456"),
        (-1001234567890, 17, "default", "-1001234567890:17", "default/-1001234567890:17"),
        ("a:b/c~%", None, "default", "a%3Ab%2Fc%7E%25", "default/a%3Ab%2Fc%7E%25"),
        ("é", "..", "default", "%C3%A9:..", "default/%C3%A9:.."),
    ],
)
def test_a_conversation_has_the_documented_group_and_key(chat, thread, tenant, group, key):
    assert message_group_id(chat, thread, tenant) == group
    assert session_key(chat, thread, tenant) == key


def test_a_long_name_keeps_its_beginning_and_ends_with_a_hash():
    group = message_group_id("c" * 129)
    key = session_key("c" * 512)
    assert re.fullmatch(r"c{60}~[0-9a-f]{64}", group)
    assert re.fullmatch(r"default/c{432}~[0-9a-f]{64}", key)
    assert message_group_id("c" * 128) == "c" * 128
    assert len(session_key("c" * 504)) == 512


@given(conversations, conversations)
@example(("a", "b", "default"), ("a:b", None, "default"))
@example(("b", None, "a"), ("a/b", None, "default"))
@example(("default/1", None, "default"), ("1", None, "default"))
@example(("c" * 128 + "1", None, "default"), ("c" * 128 + "2", None, "default"))
def test_two_conversations_never_share_a_group_or_a_session(one, other):
    same = one == other
    assert (message_group_id(*one) == message_group_id(*other)) == same
    assert (session_key(*one) == session_key(*other)) == same


@given(conversations)
def test_every_group_is_one_that_sqs_takes(conversation):
    assert SQS_ID.fullmatch(message_group_id(*conversation))


@given(conversations)
def test_every_session_key_is_short_ascii(conversation):
    key = session_key(*conversation)
    assert key.isascii()
    assert len(key) <= 512


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5))
def test_a_short_group_can_be_read_back(chat):
    assert unquote(message_group_id(chat)) == chat


@pytest.mark.parametrize("arguments", [("",), ("1", ""), ("1", None, "")])
def test_an_empty_id_is_refused(arguments):
    with pytest.raises(ValueError, match="empty"):
        message_group_id(*arguments)
    with pytest.raises(ValueError, match="empty"):
        session_key(*arguments)


def test_a_valid_job_id_is_its_own_deduplication_id():
    assert deduplication_id("ticketbot:update-8812.1") == "ticketbot:update-8812.1"


@given(st.text(), st.text())
def test_deduplication_ids_are_distinct_and_taken_by_sqs(one, other):
    assert SQS_ID.fullmatch(deduplication_id(one))
    assert (deduplication_id(one) == deduplication_id(other)) == (one == other)


def test_an_event_id_names_the_job_and_the_outcome():
    assert event_id("j-1", "agent.job.completed") == "j-1/completed"
