"""Keeps what looks like a secret off the screen."""

import re
from typing import Any

HIDDEN = "(hidden)"

_NAME = re.compile(
    r"token|secret|passw|authori[sz]ation|signature|credential|api[-_]?key|private[-_]?key|cookie",
    re.IGNORECASE,
)
_VALUES = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}"  # model APIs
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS access keys
    r"|gh[pousr]_[A-Za-z0-9]{20,}|xox[a-z]-[A-Za-z0-9-]{10,}"  # GitHub, Slack
    r"|whsec_[A-Za-z0-9+/=]{16,}|\d{8,10}:[A-Za-z0-9_-]{35}"  # webhooks, Telegram bots
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"  # JSON Web Tokens
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"
)


def redacted_text(text: str) -> str:
    return _VALUES.sub(HIDDEN, text)


def redacted(value: Any, name: str = "") -> Any:  # noqa: ANN401 - any JSON
    """A JSON value without what looks like a secret, by the name of its field or by itself."""
    if isinstance(value, dict):
        return {key: redacted(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, name) for item in value]
    if _NAME.search(name) and value not in (None, "", 0) and not isinstance(value, bool):
        return HIDDEN
    return redacted_text(value) if isinstance(value, str) else value
