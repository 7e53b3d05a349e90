"""The beginning of a subscriber's answer, fit to be kept: short, printable, without secrets, and
without the message that it may have sent back to us.
"""

import re
from collections.abc import Iterable

SNIPPET_CHARACTERS = 300

_SECRETS = re.compile(
    r"whsec_[A-Za-z0-9+/=_-]+|v1a?,[A-Za-z0-9+/=]{16,}|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|(?i:[\w-]*(?:token|secret|password|api[_-]?key|authorization)[\w-]*)"
    r"[\"']?\s*[:=]\s*[\"']?(?:(?i:bearer|basic)\s+)?[^\s\"',;&]{4,}"
)
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

ECHO = "[left out: it repeats the event]"
_WINDOW = 16
"""An answer that has so many characters in a row of what we sent repeats the event."""


def snippet(raw: bytes, sent: str, secrets: Iterable[str]) -> str:
    """What is kept of an answer's first bytes. `sent` is the body that it answers."""
    text = raw[: SNIPPET_CHARACTERS * 8].decode("utf-8", "replace")
    if any(
        text[start : start + _WINDOW] in sent
        for start in range(0, max(len(text) - _WINDOW + 1, 0), _WINDOW // 2)
    ):
        return ECHO
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    text = _SECRETS.sub("[secret]", text)
    text = _UNFIT.sub(" ", text).strip()
    return text if len(text) <= SNIPPET_CHARACTERS else f"{text[: SNIPPET_CHARACTERS - 1]}…"
