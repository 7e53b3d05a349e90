"""The control record: how a running, waiting or queued job is asked to stop.

It is a row of its own in the job table, because a message could not overtake the one that it is
about: they would be in one message group. Whoever may cancel needs to write such rows and nothing
else, which IAM can say (dynamodb:LeadingKeys, `control#*`).

The row is a wish, not an outcome. What became of the job is in the job's own row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.addressing import JOB_ID_PATTERN

CONTROL_PREFIX: Final = "control#"
"""No job id holds a "#", so no job's row has such a key."""

CONTROL_SECONDS: Final = 15 * 86400
"""How long a wish lasts: a message waits in a queue for at most 14 days (Amazon SQS quotas)."""

MAX_REQUESTED_BY: Final = 200


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody wants a job to stop. `requested_at` is in epoch seconds."""

    requested_at: float
    requested_by: str | None = None


def control_key(job_id: str) -> dict[str, Any]:
    """The key of a job's control row, in DynamoDB's attribute values."""
    return {"job_id": {"S": f"{CONTROL_PREFIX}{job_id}"}}


def cancel_item(job_id: str, now: float, requested_by: str | None = None) -> dict[str, Any]:
    """The row that asks for a job to be cancelled, as DynamoDB's PutItem takes it.

    Putting it again changes nothing but its time. `now` is in epoch seconds; `requested_by`, up to
    200 characters of it, is told in the event. Raises ValueError.
    """
    if not re.fullmatch(JOB_ID_PATTERN, job_id):
        raise ValueError(
            f"job_id: {job_id[:100]!r} is no job id; it has 1 to 100 ASCII letters, digits or "
            "._:- characters"
        )
    item = {
        **control_key(job_id),
        "action": {"S": "cancel"},
        "requested_at": {"N": f"{now:.3f}"},
        "expires_at": {"N": str(int(now) + CONTROL_SECONDS)},
    }
    if requested_by:
        item["requested_by"] = {"S": requested_by[:MAX_REQUESTED_BY]}
    return item


def cancel_request(item: Mapping[str, Any] | None, now: float) -> CancelRequest | None:
    """What a control row asks for; None when there is none, or it has expired and DynamoDB has not
    deleted it yet.
    """
    if not item or item["action"]["S"] != "cancel" or float(item["expires_at"]["N"]) <= now:
        return None
    by = item.get("requested_by")
    return CancelRequest(float(item["requested_at"]["N"]), by and by["S"])
