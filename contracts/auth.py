"""Who may send: a shared token, or an HMAC signature of the body, in a message attribute.

Several secrets can be valid at once, for rotation. Every comparison takes the same time whether or
not it matches, and anything that is not well-formed is simply not authorized.

A signature has no expiry: a message may rightly wait in the queue for days. What makes a replayed
message harmless is its job id, which the signed body holds and which has one effect. A worker may
besides demand that a message was sent soon after it was signed (`signed_at`).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable

AUTH_TOKEN_ATTRIBUTE = "auth_token"  # noqa: S105 - a name, not a secret
AUTH_SIGNATURE_ATTRIBUTE = "auth_signature"

_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(body: str | bytes, secret: str, timestamp: int) -> str:
    """The value of `auth_signature`: "t=<timestamp>,v1=<hex HMAC-SHA256 of '<timestamp>.<body>'>".

    `timestamp` is the time of signing in Unix seconds. Raises ValueError for an empty secret.
    """
    if not secret:
        raise ValueError("the secret is empty: anybody could sign with it; give a random one")
    return f"t={timestamp},v1={_mac(_bytes(body), secret, str(timestamp))}"


def verify_signature(body: str | bytes, signature: str, secrets: Iterable[str]) -> bool:
    """Whether one of the secrets made this signature of exactly this body."""
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        return False
    timestamp, given = match.groups()
    raw = _bytes(body)
    return _any(hmac.compare_digest(given, _mac(raw, s, timestamp)) for s in secrets if s)


def signed_at(signature: str) -> int | None:
    """When a signature says that it was made (Unix seconds); None if it is not well-formed. Only a
    valid signature's time means anything: it is part of what is signed.
    """
    match = _SIGNATURE.fullmatch(signature)
    return None if match is None else int(match[1])


def verify_token(token: str, secrets: Iterable[str]) -> bool:
    """Whether the token is one of the secrets. An empty secret matches nothing."""
    given = _bytes(token)
    return _any(hmac.compare_digest(given, _bytes(s)) for s in secrets if s)


def authorized(
    body: str | bytes, *, token: str | None, signature: str | None, secrets: Iterable[str]
) -> bool:
    """Whether a message's `auth_token` or `auth_signature` (None: not sent) is valid."""
    known = tuple(secrets)
    by_token = token is not None and verify_token(token, known)
    by_signature = signature is not None and verify_signature(body, signature, known)
    return by_token or by_signature


def _any(matches: Iterable[bool]) -> bool:
    """Like `any`, but looks at every one: the time taken does not tell which secret matched."""
    return sum(matches) > 0


def _mac(body: bytes, secret: str, timestamp: str) -> str:
    return hmac.new(_bytes(secret), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
