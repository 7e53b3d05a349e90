"""What an answer means, what is kept of it, and what a subscription may be."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import new_webhook_secret, verify_webhook
from contracts.webhooks import sign_webhook
from worker.webhooks.errors import InvalidSubscriptionError, UnreadableMessageError
from worker.webhooks.event import IncomingEvent, Wake, read_event, read_message, wake_body
from worker.webhooks.policy import (
    DAY,
    DELAYS,
    MAX_RETRY_AFTER_SECONDS,
    Again,
    Answer,
    Delivered,
    Exhausted,
    Gone,
    judge,
    retry_after_seconds,
)
from worker.webhooks.snippet import ECHO, SNIPPET_CHARACTERS, snippet
from worker.webhooks.subscription import DEFAULT_TYPES, MAX_SECRETS, Secret, new_subscription

NOW = 1_800_000_000.0
EVENT = {"specversion": "1.0", "id": "j-1/completed", "type": "agent.job.completed"}


def answer(status=None, **fields):
    return Answer(status, 0.1, **fields)


def test_the_schedule_is_the_specification_s():
    since_start = [sum(DELAYS[: n + 1]) for n in range(10)]
    assert since_start == [
        h * 3600 + m * 60 + s
        for h, m, s in (
            (0, 0, 0),
            (0, 0, 5),
            (0, 5, 5),
            (0, 35, 5),
            (2, 35, 5),
            (7, 35, 5),
            (17, 35, 5),
            (31, 35, 5),
            (51, 35, 5),
            (75, 35, 5),
        )
    ]


@given(st.integers(100, 599), st.integers(1, 10), st.floats(0, 1, exclude_max=True))
def test_every_status_has_the_meaning_that_the_specification_gives_it(status, tries, jitter):
    verdict = judge(answer(status), tries, 10, NOW, jitter)
    if 200 <= status < 300:
        assert verdict == Delivered()
    elif status == 410:
        assert verdict == Gone()
    elif tries == 10:
        assert verdict == Exhausted()
    else:
        assert isinstance(verdict, Again)
        assert abs(verdict.after - DELAYS[tries]) <= DELAYS[tries] / 20
        assert (verdict.hold > 0) == (status in {429, 502, 503, 504})


@given(st.integers(1, 9), st.sampled_from(["timeout", "dns", "tls", "unreachable", "protocol"]))
def test_no_answer_is_a_failure_like_any_other(tries, error):
    assert isinstance(judge(answer(error=error), tries, 10, NOW, 0.5), Again)


def test_retry_after_delays_but_never_hastens():
    asked = answer(503, retry_after="7200")
    assert judge(asked, 1, 10, NOW, 0.5) == Again(7200.0, 7200.0)
    assert judge(asked, 5, 10, NOW, 0.5) == Again(DELAYS[5], 7200.0)
    assert judge(answer(500, retry_after="60"), 1, 10, NOW, 0.5) == Again(60.0, 0.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("99999999999999999999", MAX_RETRY_AFTER_SECONDS),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), 0),
        (formatdate(NOW + 9 * DAY, usegmt=True), MAX_RETRY_AFTER_SECONDS),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_http_defines_it(header, seconds):
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text())
def test_no_retry_after_leads_to_a_stray_exception_or_more_than_a_day(header):
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


@given(st.binary(max_size=5000), st.text())
def test_what_is_kept_of_an_answer_is_short_and_printable(raw, sent):
    kept = snippet(raw, sent, ["whsec_x"])
    assert len(kept) <= SNIPPET_CHARACTERS
    assert not any(ord(c) < 32 for c in kept)


@pytest.mark.parametrize(
    "text",
    [
        'bad header "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="',
        "expected whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "Authorization: Bearer g0hM9SsE.OTPJTGt",
        '{"api_key": "g0hM9SsEOTP"}',
        "DATABASE_PASSWORD=g0hM9SsEOTP",
        "g0hM9SsEOTP MfKQ9r8G",
    ],
)
def test_what_looks_like_a_secret_is_not_kept(text):
    kept = snippet(text.encode(), "", ["g0hM9SsEOTP MfKQ9r8G"])
    assert "[secret]" in kept
    assert "g0hM9" not in kept
    assert "MfKQ" not in kept


@given(st.text(min_size=40, alphabet=st.characters(categories=["L", "N"])), st.integers(0, 400))
def test_an_answer_that_repeats_the_event_is_not_kept(message, before):
    body = f'{{"data": {{"response": "{message}"}}}}'
    assert snippet(("x" * before + message).encode()[:2000], body, []) == ECHO


def test_an_answer_is_kept_so_that_people_see_what_was_wrong():
    kept = snippet(b'{"error":\r\n"no such route"}\n', '{"id": "j-1"}', [])
    assert kept == '{"error": "no such route"}'


@given(st.text(min_size=1))
def test_every_event_id_becomes_a_webhook_id_that_can_be_signed_and_no_two_the_same(event_id):
    def webhook_id(text):
        return read_event({**EVENT, "id": text}).webhook_id

    headers = sign_webhook(webhook_id(event_id), 1, "body", secret := new_webhook_secret())
    assert verify_webhook(headers, "body", secret, now=1) == webhook_id(event_id)
    assert webhook_id(event_id) != webhook_id(event_id + ".")
    assert webhook_id(event_id + "x" * 400) != webhook_id(event_id + "x" * 401)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
def test_whatever_is_on_the_queue_there_is_no_stray_exception(body):
    try:
        assert isinstance(read_message(body), IncomingEvent | Wake)
    except UnreadableMessageError as exc:
        assert exc.reason in {"invalid_json", "invalid_event"}  # noqa: PT017


def test_a_wake_is_read_as_it_was_written():
    assert read_message(wake_body("wh_1")) == Wake("wh_1")


def subscription(**fields):
    return new_subscription(
        **{"url": "https://example.com/", "secret": new_webhook_secret(), "now": NOW, **fields}
    )


def test_without_a_choice_a_subscription_gets_what_ends_a_job():
    assert subscription().types == DEFAULT_TYPES
    assert set(DEFAULT_TYPES) == {
        "agent.job.completed",
        "agent.job.failed",
        "agent.job.rejected",
        "agent.job.cancelled",
    }


def test_what_cannot_be_a_subscription_is_refused_with_every_problem_and_no_secret():
    with pytest.raises(InvalidSubscriptionError) as caught:
        subscription(
            url="http://example.com",
            types=("agent.job.compleated", "agent.*"),
            tenants=("a/b",),
            chats=(" ",),
            description="x" * 201,
            secret="whsec_c2hvcnQ=",
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 6
    for part in ("https", "agent.job.compleated", "a/b", "chat", "200", "whsec_"):
        assert part in text
    assert "c2hvcnQ" not in text


def test_a_secret_is_never_in_a_repr():
    sub = subscription()
    assert sub.secrets[0].value not in repr(sub)


def test_rotating_again_and_again_keeps_the_newest():
    sub = subscription()
    values = [f"whsec_{n}" for n in range(8)]
    for value in values:
        sub = sub.rotated(value, NOW, DAY)
    assert sub.signing_secrets(NOW) == tuple(reversed(values[-MAX_SECRETS:]))
    assert sub.signing_secrets(NOW + DAY) == ("whsec_7",)


def test_rotating_does_not_lengthen_the_life_of_an_older_secret():
    sub = subscription().rotated("whsec_b", NOW, 60).rotated("whsec_c", NOW + 30, DAY)
    assert sub.secrets[1] == Secret("whsec_b", NOW + 30 + DAY)
    assert sub.secrets[2].expires_at == NOW + 60
