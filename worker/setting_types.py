"""Types of settings that are lists."""

import re
from typing import Annotated

from pydantic import BeforeValidator, SecretStr

_LIST = re.compile(r"[,\s]+")


def _parts(text: object) -> object:
    return tuple(part for part in _LIST.split(text) if part) if isinstance(text, str) else text


Names = Annotated[tuple[str, ...], BeforeValidator(_parts)]
"""Names separated by commas or blanks."""

Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_parts)]
