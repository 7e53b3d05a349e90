"""Rows of the two tables, to and from DynamoDB's attribute values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from functools import cache
from typing import Any

from worker.domain.history import AttemptEnd
from worker.domain.job import JobRecord, JobState, Spent
from worker.domain.session import Lease, Segment, SessionHead

Item = dict[str, Any]


def value(plain: object) -> Any:  # noqa: ANN401 - boto3's attribute value
    """One attribute value; floats become exact decimals, as DynamoDB has no binary floats."""
    return _serializer().serialize(_decimals(plain))


def values(plain: Mapping[str, object]) -> Item:
    """Attribute values by name; None is left out."""
    return {name: value(item) for name, item in plain.items() if item is not None}


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    read = _deserializer().deserialize
    return {name: read(attribute) for name, attribute in item.items()}


def record_of(item: Mapping[str, Any]) -> JobRecord:
    row = plain(item)
    published_at = row.get("published_at")
    return JobRecord(
        job_id=row["job_id"],
        session_key=row.get("session_key", ""),
        state=JobState(row["state"]),
        attempt=int(row.get("attempt", 0)),
        first_attempt=int(row.get("first_attempt", 1)),
        generation=int(row.get("generation", 0)),
        slices=int(row.get("slices", 0)),
        spent=_spent(row.get("spent", {})),
        event=row.get("event"),
        error_code=row.get("error_code"),
        error_message=row.get("error_message"),
        created_at=float(row.get("created_at", 0)),
        updated_at=float(row.get("updated_at", 0)),
        published_at=None if published_at is None else float(published_at),
        claimed_at=float(row.get("claimed_at", 0)),
        history=_history(row.get("history", [])),
    )


def head_of(session_key: str, item: Mapping[str, Any] | None) -> SessionHead:
    """A chat without a row is a head of generation 0."""
    if not item:
        return SessionHead(session_key)
    row = plain(item)
    lease = row.get("lease")
    return SessionHead(
        session_key=session_key,
        generation=int(row.get("generation", 0)),
        version=int(row.get("version", 0)),
        session_id=row.get("session_id"),
        segments=_segments(row.get("segments", [])),
        files=_segments(row.get("files", [])),
        lease=lease and Lease(lease["owner"], lease["job_id"], float(lease["expires_at"])),
        turns=int(row.get("turns", 0)),
        cost_usd=float(row.get("cost_usd", 0)),
        expires_at=float(row.get("session_expires_at", 0)),
    )


def _segments(rows: Sequence[Mapping[str, Any]]) -> tuple[Segment, ...]:
    return tuple(
        Segment(row["key"], int(row["size"]), row["sha256"], float(row["written_at"]))
        for row in rows
    )


def _history(rows: Sequence[Mapping[str, Any]]) -> tuple[AttemptEnd, ...]:
    return tuple(
        AttemptEnd(
            int(row["attempt"]),
            float(row["began_at"]),
            float(row["ended_at"]),
            row["code"],
            row["message"],
        )
        for row in rows
    )


def history_rows(history: Sequence[AttemptEnd]) -> list[dict[str, object]]:
    return [asdict(end) for end in history]


def _spent(row: Mapping[str, Any]) -> Spent:
    return Spent(
        float(row.get("cost_usd", 0)),
        int(row.get("num_turns", 0)),
        int(row.get("duration_ms", 0)),
    )


def spent_row(spent: Spent) -> dict[str, object]:
    return {
        "cost_usd": spent.cost_usd,
        "num_turns": spent.num_turns,
        "duration_ms": spent.duration_ms,
    }


def segment_row(segment: Segment) -> dict[str, object]:
    return {
        "key": segment.key,
        "size": segment.size,
        "sha256": segment.sha256,
        "written_at": segment.written_at,
    }


def update_of(
    table: str,
    key: dict[str, Any],
    changes: Mapping[str, object],
    *,
    remove: tuple[str, ...] = (),
    condition: str,
    seen: Mapping[str, object],
) -> dict[str, Any]:
    """A conditional Update, as a transaction takes it.

    Every changed name is aliased, because some ("state", "owner") are reserved words; a condition
    writes `#state`. `seen` are the values that the condition names.
    """
    kept = {name: item for name, item in changes.items() if item is not None}
    clauses = []
    if kept:
        clauses.append("SET " + ", ".join(f"#{name} = :new_{name}" for name in kept))
    if remove:
        clauses.append("REMOVE " + ", ".join(f"#{name}" for name in remove))
    names = {f"#{name}": name for name in (*kept, *remove)}
    if "#state" in condition:
        names["#state"] = "state"
    return {
        "Update": {
            "TableName": table,
            "Key": key,
            "UpdateExpression": " ".join(clauses),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                **{f":new_{name}": value(item) for name, item in kept.items()},
                **{name: value(item) for name, item in seen.items()},
            },
        }
    }


@cache
def _serializer() -> Any:  # noqa: ANN401 - boto3's
    from boto3.dynamodb.types import TypeSerializer  # noqa: PLC0415 - see `clients`

    return TypeSerializer()


@cache
def _deserializer() -> Any:  # noqa: ANN401 - boto3's
    from boto3.dynamodb.types import TypeDeserializer  # noqa: PLC0415 - see `clients`

    return TypeDeserializer()


def _decimals(plain: object) -> object:
    if isinstance(plain, float):
        return Decimal(repr(plain))
    if isinstance(plain, dict):
        return {name: _decimals(item) for name, item in plain.items()}
    if isinstance(plain, list | tuple):
        return [_decimals(item) for item in plain]
    return plain
