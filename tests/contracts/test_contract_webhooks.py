"""Standard Webhooks: published vectors, the public libraries in both directions, hostile input."""

import base64
import json
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from contracts import (
    InvalidConfiguration,
    InvalidSignature,
    new_webhook_secret,
    sign_webhook,
    verify_webhook,
)

NOW = 1614265330
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = '{"test": 2432232314}'

# Each published with its secret and expected signature.
VECTORS = {
    # The one of most libraries of standard-webhooks and Svix (sign function).
    "libraries": (SECRET, ID, 1614265330, BODY, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    # libraries/rust/src/lib.rs, test_sign; Svix's rust/src/webhooks.rs has the same.
    "rust": (
        OTHER,
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        '{"email":"test@example.com","username":"test_user"}',
        "tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    # docs.svix.com, "How to verify webhooks manually".
    "svix docs": (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1731705121,
        '{"event_type":"ping","data":{"success":true}}',
        "rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
}
FORGED = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="

secrets = st.binary(min_size=24, max_size=64).map(
    lambda key: "whsec_" + base64.b64encode(key).decode()
)
ids = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1
)
bodies = st.text(st.characters(exclude_categories=["Cs"])) | st.binary()
times = st.integers(min_value=0, max_value=10**12 - 1)


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_vector_is_signed_and_verified(name):
    secret, webhook_id, timestamp, body, signature = VECTORS[name]
    headers = sign_webhook(webhook_id, timestamp, body, secret)
    assert headers == {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
    assert verify_webhook(headers, body, [secret], now=timestamp) == webhook_id


# What the test suites of the libraries try, with the outcome that they demand. `None`: valid.
PUBLISHED_CASES = {
    "as signed": ({}, None),
    "missing id": ({"webhook-id": None}, "missing_header"),
    "missing timestamp": ({"webhook-timestamp": None}, "missing_header"),
    "missing signature": ({"webhook-signature": None}, "missing_header"),
    "invalid timestamp": ({"webhook-timestamp": "hello"}, "malformed"),
    "float timestamp": ({"webhook-timestamp": "1614265330.0"}, "malformed"),
    "negative timestamp": ({"webhook-timestamp": "-1614265330"}, "malformed"),
    "old timestamp": ({"webhook-timestamp": str(NOW - 301)}, "too_old"),
    "new timestamp": ({"webhook-timestamp": str(NOW + 301)}, "too_new"),
    "another timestamp": ({"webhook-timestamp": str(NOW - 1)}, "no_match"),
    "another signature": ({"webhook-signature": FORGED}, "no_match"),
    "one character changed": (
        {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="},
        "no_match",
    ),
    "not base64": (
        {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLawdd"},
        "no_match",
    ),
    "no signature after the version": ({"webhook-signature": "v1,"}, "no_match"),
    "the signature's beginning": ({"webhook-signature": "v1,g0hM9"}, "no_match"),
    "no version": (
        {"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        "no_match",
    ),
    "another version": (
        {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        "no_match",
    ),
    "several, one of them valid": (
        {
            "webhook-signature": f"{FORGED} {FORGED.replace('v1', 'v2')} "
            f"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= {FORGED}"
        },
        None,
    ),
    "several, none valid": (
        {
            "webhook-signature": "v1,tFtCZ5RDCPxzWQRWXWPgrCgE2frDBe9gjpbWQxnVfsQ= "
            "v1,Mm7xgUVICxZfQ3bgf0h0Dof65L/IFx+PnZvnDWPCX6Q= "
            "v1,9DfC1c3eeOrXB6w/5dIDydLNQaEyww5KalE5jLBZucE="
        },
        "no_match",
    ),
    "an asymmetric one beside it": (
        {
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,"
            "hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        },
        None,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED_CASES)
def test_a_published_case_has_the_outcome_that_the_libraries_demand(name):
    changes, code = PUBLISHED_CASES[name]
    headers = sign_webhook(ID, NOW, BODY, SECRET) | changes
    headers = {header: value for header, value in headers.items() if value is not None}
    if code is None:
        assert verify_webhook(headers, BODY, [SECRET], now=NOW) == ID
        return
    with pytest.raises(InvalidSignature) as caught:
        verify_webhook(headers, BODY, [SECRET], now=NOW)
    assert caught.value.code == code


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.webhooks.Webhook])
@given(secret=secrets, webhook_id=ids, body=st.dictionaries(st.text(), st.text()))
def test_the_public_libraries_verify_what_we_sign(library, secret, webhook_id, body):
    now = int(datetime.now(UTC).timestamp())
    raw = json.dumps(body)
    headers = sign_webhook(webhook_id, now, raw, [OTHER, secret])
    library(secret).verify(raw, headers)


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.webhooks.Webhook])
@given(
    secret=secrets,
    webhook_id=ids,
    time=st.integers(min_value=0, max_value=4_000_000_000),
    body=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_we_verify_what_the_public_libraries_sign(library, secret, webhook_id, time, body):
    signature = library(secret).sign(webhook_id, datetime.fromtimestamp(time, UTC), body)
    headers = {
        "Webhook-Id": webhook_id,
        "Webhook-Timestamp": str(time),
        "Webhook-Signature": signature,
    }
    assert verify_webhook(headers, body, [OTHER, secret], now=time) == webhook_id


@given(secret=secrets, other=secrets, webhook_id=ids, time=times, body=bodies, changed=bodies)
def test_another_body_id_time_or_secret_is_not_verified(
    secret, other, webhook_id, time, body, changed
):
    headers = sign_webhook(webhook_id, time, body, secret)
    assert verify_webhook(headers, body, secret, now=time) == webhook_id

    def refused(headers=headers, body=body, secret=secret):
        with pytest.raises(InvalidSignature):
            verify_webhook(headers, body, secret, now=time, tolerance_seconds=2)

    if sign_webhook(webhook_id, time, changed, secret) != headers:
        refused(body=changed)
    if other != secret:
        refused(secret=other)
    refused(headers=headers | {"webhook-id": webhook_id + "x"})
    refused(headers=headers | {"webhook-timestamp": str(time + 1)})


def test_a_full_stop_cannot_be_moved_between_id_and_time():
    headers = sign_webhook("a", 17, "18.body", SECRET)
    moved = headers | {"webhook-id": "a.17", "webhook-timestamp": "18"}
    with pytest.raises(InvalidSignature, match="full stop"):
        verify_webhook(moved, "body", SECRET, now=18)
    with pytest.raises(ValueError, match="full stop"):
        sign_webhook("a.17", 18, "body", SECRET)


anything = st.text() | st.binary() | st.none() | st.integers() | st.lists(st.text())
names = st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "Webhook-ID"])


@given(
    headers=st.dictionaries(names | st.text(), anything),
    body=bodies | st.text(),
    now=st.floats(allow_nan=False, allow_infinity=False),
)
def test_hostile_headers_and_bodies_give_our_error_and_no_other(headers, body, now):
    with pytest.raises(InvalidSignature):
        verify_webhook(headers, body, SECRET, now=now)


@given(signature=st.text() | st.sampled_from(["v1", "v1,", ",", " ", "v1,é", "v1,=", "v1,A==="]))
def test_a_malformed_signature_gives_our_error_and_no_other(signature):
    headers = sign_webhook(ID, NOW, BODY, SECRET) | {"webhook-signature": signature}
    with pytest.raises(InvalidSignature):
        verify_webhook(headers, BODY, SECRET, now=NOW)


@pytest.mark.parametrize(
    "given_secrets",
    [[], "", ["whsec_"], "whsec_c2hvcnQ=", "whsec_" + "A" * 132, "no base64 é", "ü"],
)
def test_a_secret_that_is_none_is_a_mistake_of_ours_and_is_not_shown(given_secrets):
    with pytest.raises(InvalidConfiguration) as caught:
        sign_webhook(ID, NOW, BODY, given_secrets)
    with pytest.raises(InvalidConfiguration):
        verify_webhook(sign_webhook(ID, NOW, BODY, SECRET), BODY, given_secrets, now=NOW)
    assert "c2hvcnQ" not in str(caught.value)


@given(st.text())
def test_no_text_for_a_secret_leads_to_a_stray_exception(secret):
    try:
        verify_webhook(sign_webhook(ID, NOW, BODY, SECRET), BODY, secret, now=NOW)
    except (InvalidConfiguration, InvalidSignature):
        return
    assert base64.b64decode(secret.removeprefix("whsec_") + "==") == base64.b64decode(SECRET[6:])


@pytest.mark.parametrize("length", [32, 31, 34])  # no padding, one sign of it, two
def test_padding_and_prefix_of_a_secret_may_be_missing(length):
    bare = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBr"[:length]
    padded = f"whsec_{bare}{'=' * (-length % 4)}"
    headers = sign_webhook(ID, NOW, BODY, padded)
    assert verify_webhook(headers, BODY, bare, now=NOW) == ID
    library = standardwebhooks.Webhook(bare)
    signature = library.sign(ID, datetime.fromtimestamp(NOW, UTC), BODY)
    assert headers["webhook-signature"] == signature


def test_while_rotating_each_secret_signs_and_either_verifies():
    headers = sign_webhook(ID, NOW, BODY, [SECRET, OTHER])
    assert headers["webhook-signature"].count("v1,") == 2
    for known in (SECRET, OTHER, [new_webhook_secret(), OTHER]):
        assert verify_webhook(headers, BODY, known, now=NOW) == ID


def test_a_new_secret_is_random_and_well_formed():
    one, other = new_webhook_secret(), new_webhook_secret()
    assert one != other
    assert len(base64.b64decode(one.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize("timestamp", [-1, 1.5, "161426533.0", "invalid", 10**12])
def test_a_time_that_is_none_is_not_signed(timestamp):
    with pytest.raises(ValueError, match="Unix seconds"):
        sign_webhook(ID, timestamp, BODY, SECRET)


def test_this_machine_s_clock_is_used_when_none_is_given():
    stale = sign_webhook(ID, NOW, BODY, SECRET)
    with pytest.raises(InvalidSignature, match="ago"):
        verify_webhook(stale, BODY, SECRET)
    fresh = sign_webhook(ID, int(datetime.now(UTC).timestamp()), BODY, SECRET)
    assert verify_webhook(fresh, BODY, SECRET) == ID
