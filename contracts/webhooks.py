"""Webhooks after Standard Webhooks 1.0 (standardwebhooks.com): how they are signed, and how a
receiver makes sure that one is genuine, unchanged and fresh. The standard library only.

    webhook_id = verify_webhook(request.headers, request.body, [secret])
    event = parse_event(request.body)

A secret is written "whsec_" and then base64. The signature is "v1," and the base64 of the
HMAC-SHA256 of "<id>.<timestamp>.<body>"; while a secret is rotated, the header holds one for each.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets as random
import time
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

from contracts.errors import InvalidConfiguration, InvalidSignature, SignatureProblem
from contracts.fields import utf8

WEBHOOK_ID_HEADER: Final = "webhook-id"
WEBHOOK_TIMESTAMP_HEADER: Final = "webhook-timestamp"
WEBHOOK_SIGNATURE_HEADER: Final = "webhook-signature"

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every secret begins with
NEW_SECRET_BYTES: Final = 32
"""Standard Webhooks wants 24 to 64 ("Signature scheme")."""
SECRET_BYTES: Final = (16, 96)
"""What is taken. Senders, and published examples, have secrets of 18 bytes."""

# No full stop, so that "<id>.<timestamp>.<body>" can be read in one way only (the same section).
_ID = re.compile(r"[!-\-/-~]{1,512}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def new_webhook_secret() -> str:
    """A random secret, as Standard Webhooks writes it."""
    return SECRET_PREFIX + base64.b64encode(random.token_bytes(NEW_SECRET_BYTES)).decode()


def sign_webhook(
    webhook_id: str, timestamp: int, body: str | bytes, secrets: str | Iterable[str]
) -> dict[str, str]:
    """The three headers of a webhook, with a signature by each secret, in their order.

    Args:
        webhook_id: the same whenever this event is sent again; printable ASCII without a full stop.
        timestamp: the time of this attempt in Unix seconds.
        body: exactly what is sent.
        secrets: "whsec_..."; several while rotating.

    Raises:
        InvalidConfiguration: no secret, or one that is not well-formed. Its text holds none.
        ValueError: an id or a timestamp that Standard Webhooks does not allow.
    """
    if not _ID.fullmatch(webhook_id):
        raise ValueError(
            f"webhook id {webhook_id!r}: give 1 to 512 printable ASCII characters, none a full stop"
        )
    if not _TIMESTAMP.fullmatch(str(timestamp)):
        raise ValueError(f"timestamp {timestamp!r}: give Unix seconds as an integer")
    signatures = _signatures(webhook_id, str(timestamp), utf8(body), _keys(secrets))
    return {
        WEBHOOK_ID_HEADER: webhook_id,
        WEBHOOK_TIMESTAMP_HEADER: str(timestamp),
        WEBHOOK_SIGNATURE_HEADER: " ".join(signature.decode() for signature in signatures),
    }


def verify_webhook(
    headers: Mapping[str, str],
    body: str | bytes,
    secrets: str | Iterable[str],
    *,
    tolerance_seconds: float = 300.0,
    now: float | None = None,
) -> str:
    """Make sure that a webhook is genuine, unchanged and fresh; returns its id.

    The id stays the same when the event is delivered again: remember it, and skip what you know.

    Args:
        headers: the request's; names in any case.
        body: the request's, as it came: JSON that was read and written again has other bytes.
        secrets: "whsec_..."; several while rotating. One that signed is enough.
        tolerance_seconds: how far the sender's clock and yours may differ, and how old an attempt
            may be. A webhook that is recorded and sent again later is refused by it.
        now: the time in Unix seconds; this machine's if None.

    Raises:
        InvalidSignature: do not trust this request. Nothing that a request holds leads to another
            exception.
        InvalidConfiguration: no secret, or one that is not well-formed.
    """
    keys = _keys(secrets)
    given = {str(name).lower(): value for name, value in headers.items()}
    webhook_id = _header(given, WEBHOOK_ID_HEADER)
    timestamp = _header(given, WEBHOOK_TIMESTAMP_HEADER)
    signatures = _header(given, WEBHOOK_SIGNATURE_HEADER)
    if not _ID.fullmatch(webhook_id):
        _refuse("malformed", f"{WEBHOOK_ID_HEADER} is not printable ASCII without a full stop")
    if not _TIMESTAMP.fullmatch(timestamp):
        _refuse("malformed", f"{WEBHOOK_TIMESTAMP_HEADER} is not a time in Unix seconds")
    age = (time.time() if now is None else now) - int(timestamp)
    if age > tolerance_seconds:
        _refuse("too_old", f"it was sent {age:.0f} s ago, more than {tolerance_seconds:g} s")
    if -age > tolerance_seconds:
        _refuse("too_new", f"it was sent {-age:.0f} s in the future: check both clocks")
    # Compared as they are written: nothing that came from outside is decoded.
    claimed = [utf8(signature) for signature in signatures.split(" ")]
    expected = _signatures(webhook_id, timestamp, utf8(body), keys)
    if not sum(hmac.compare_digest(ours, theirs) for ours in expected for theirs in claimed):
        _refuse("no_match", "no signature is by a known secret over exactly this body")
    return webhook_id


def _header(headers: Mapping[str, object], name: str) -> str:
    value = headers.get(name)
    if value is None or value == "":
        _refuse("missing_header", f"{name} is missing")
    if not isinstance(value, str):
        _refuse("malformed", f"{name} is not one text")
    return value


def _refuse(code: SignatureProblem, problem: str) -> NoReturn:
    raise InvalidSignature(code, problem)


def _signatures(webhook_id: str, timestamp: str, body: bytes, keys: Iterable[bytes]) -> list[bytes]:
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return [
        b"v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()) for key in keys
    ]


def _keys(secrets: str | Iterable[str]) -> list[bytes]:
    keys = [_key(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not keys:
        raise InvalidConfiguration("no webhook secret is given; give the subscription's secret")
    return keys


def _key(secret: str) -> bytes:
    try:
        # Some tools show secrets without base64's padding.
        encoded = secret.removeprefix(SECRET_PREFIX).rstrip("=")
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    smallest, largest = SECRET_BYTES
    if not smallest <= len(key) <= largest:
        raise InvalidConfiguration(
            f"a webhook secret is not {SECRET_PREFIX} and then base64 of {smallest} to {largest} "
            "bytes; give it as it was shown"
        )
    return key
