"""How letters and what was done to them are written down: export, archive, audit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from worker.domain.message import DEAD_LETTER_ORIGIN_ATTRIBUTE
from worker.replay.letter import SECRET_ATTRIBUTES, Letter, Origin
from worker.replay.ports import Operator

LETTER_ID_PATTERN = re.compile(r"[A-Za-z0-9-]{1,100}")


class MalformedLetterError(ValueError):
    """A record is not that of a letter. The text says why, without its content."""


def letter_record(letter: Letter) -> dict[str, Any]:
    """A letter as one JSON object: what an import needs to make the same letter. No secret."""
    stamped = letter.stamped()
    origin = stamped.origin
    attributes = {
        name: text
        for name, text in sorted(stamped.attributes.items())
        if name != DEAD_LETTER_ORIGIN_ATTRIBUTE and name not in SECRET_ATTRIBUTES
    }
    return {
        "letter": origin.letter_id,
        "version": origin.version,
        "since": origin.since,
        "group": origin.group,
        "authentic": origin.authentic,
        "attributes": attributes,
        "body": letter.body,
    }


def letter_of(record: Mapping[str, Any]) -> Letter:
    """The letter of a record. Raises MalformedLetterError."""
    try:
        origin = Origin(
            group=_text(record, "group"),
            letter_id=_text(record, "letter"),
            since=float(record["since"]),
            version=int(record.get("version", 0)),
            authentic=record.get("authentic") is True,
        )
        body, attributes = _text(record, "body"), record["attributes"]
    except (KeyError, TypeError, ValueError) as exc:
        raise MalformedLetterError(f"is no letter: {type(exc).__name__} ({exc})") from None
    if not LETTER_ID_PATTERN.fullmatch(origin.letter_id):
        raise MalformedLetterError("letter: is no id; it has letters, digits and hyphens")
    if not isinstance(attributes, dict) or not all(
        isinstance(text, str) and isinstance(name, str) for name, text in attributes.items()
    ):
        raise MalformedLetterError("attributes: must be an object of strings")
    kept = {name: text for name, text in attributes.items() if name not in SECRET_ATTRIBUTES}
    return Letter(
        message_id=origin.letter_id,
        group_id=origin.group,
        body=body,
        attributes={**kept, DEAD_LETTER_ORIGIN_ATTRIBUTE: origin.to_json()},
        sent_at=origin.since,
    )


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is no text")
    return value


@dataclass(frozen=True, slots=True)
class ArchivedLetter:
    """A letter in the archive: why it went there, who put it there (`by`), when (epoch seconds)."""

    key: str
    letter: Letter
    why: str
    by: str
    at: float

    @classmethod
    def read(cls, key: str, document: Mapping[str, Any]) -> Self:
        return cls(key, letter_of(document["of"]), document["why"], document["by"], document["at"])


def archive_key(letter: Letter) -> str:
    return f"archive/{letter.id}/{letter.origin.version:04d}"


def archived(letter: Letter, why: str, operator: Operator, now: float) -> dict[str, Any]:
    return {
        "of": letter_record(letter),
        "why": why,
        "by": operator.name,
        "from": operator.place,
        "at": now,
    }


def audit_entry(
    what: str,
    detail: str,
    operator: Operator,
    now: float,
    letters: Sequence[Letter],
    replay: str | None,
) -> dict[str, Any]:
    return {
        "at": now,
        "what": what,
        "detail": detail,
        "by": operator.name,
        "from": operator.place,
        "replay": replay,
        "letters": [
            {"letter": letter.id, "job": letter.job_id, "chat": letter.chat} for letter in letters
        ],
    }
