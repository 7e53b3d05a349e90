"""Secrets in what leaves: a search for what looks like one, and for those that the worker knows.

Best effort: a secret that is spelled backwards, or in pieces, is not found. It keeps an accident
from becoming an event, not an attacker from telling what a tool has read.
"""

import re
from collections.abc import Iterable

_SHAPES = (
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),  # AWS access key ids
    re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),  # keys of model APIs
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}"),  # GitHub tokens
    re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),  # Slack tokens
    re.compile(r"\bwhsec_[A-Za-z0-9+/=]{24,}"),  # webhook secrets
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),  # JWT
    re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
)
REMOVED = "[removed: it looks like a secret]"
SHORTEST = 8
"""A known secret that is shorter would be found in ordinary words."""


def without_secrets(text: str, known: Iterable[str] = ()) -> str:
    """The text with each of them replaced."""
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, REMOVED)
    for shape in _SHAPES:
        text = shape.sub(REMOVED, text)
    return text
