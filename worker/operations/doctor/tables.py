"""The two tables: keys, indexes, expiry, and the rights to read and write."""

from collections.abc import Mapping
from typing import Any

from worker.operations.doctor.finding import Finding, ok, problem, unchecked, warning
from worker.operations.doctor.probe import Caller, Outcome, allowed, ask, reached

PROBE_KEY = "doctor#probe"
"""A key that no job and no chat has: neither's id holds a "#"."""

_INDEXES: Mapping[str, tuple[str, str]] = {
    "unfinished": ("unfinished", "updated_at"),
    "ended": ("ended", "ended_at"),
    "chat": ("session_key", "created_at"),
}
_NEEDED_FOR = {
    "unfinished": "the sweeper, `status` and `sessions blocked`",
    "ended": "`jobs list` and `status`",
    "chat": "`jobs list --chat` and `sessions delete`",
}
_CONDITION = frozenset({"ConditionalCheckFailedException"})


async def examine_tables(aws: Caller, job_table: str, session_table: str) -> list[Finding]:
    """Both tables."""
    return [
        *await _table(aws, "job table", job_table, "JOB_TABLE", "job_id", _INDEXES),
        *await _table(aws, "session table", session_table, "SESSION_TABLE", "session_key", {}),
    ]


async def _table(
    aws: Caller,
    area: str,
    name: str,
    setting: str,
    key: str,
    indexes: Mapping[str, tuple[str, str]],
) -> list[Finding]:
    outcome = await ask(aws, "dynamodb", "describe_table", TableName=name)
    finding = reached(outcome, area, name, setting, "dynamodb:DescribeTable")
    found = [] if finding is None else [finding]
    if finding is not None and finding.level == "problem":
        return found
    if outcome.kind == "answer":
        found += _shape(area, outcome.answer["Table"], key, indexes)
    found.append(_expiry(area, await ask(aws, "dynamodb", "describe_time_to_live", TableName=name)))
    return found + await _rights(aws, area, name, key, "unfinished" if indexes else None)


def _shape(
    area: str, table: Mapping[str, Any], key: str, indexes: Mapping[str, tuple[str, str]]
) -> list[Finding]:
    remedy = "deploy infra/resources.yml, and set the setting to its output"
    keys = [part["AttributeName"] for part in table["KeySchema"]]
    if keys != [key]:
        return [problem(area, "key", f"its key is {', '.join(keys)}, not {key}", remedy)]
    found = [ok(area, "key", f"is there, by {key}")]
    present = {index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", [])}
    for name, wanted in indexes.items():
        index = present.get(name)
        if index is None:
            found.append(
                problem(
                    area,
                    f"index {name}",
                    f"the index {name} is missing: needed by {_NEEDED_FOR[name]}",
                    "deploy infra/resources.yml; CloudFormation adds one index at a time",
                )
            )
        elif tuple(part["AttributeName"] for part in index["KeySchema"]) != wanted:
            found.append(problem(area, f"index {name}", f"the index {name} has other keys", remedy))
        elif index.get("IndexStatus", "ACTIVE") != "ACTIVE":
            found.append(
                warning(
                    area,
                    f"index {name}",
                    f"the index {name} is {index['IndexStatus']}",
                    "wait until it is ACTIVE",
                )
            )
        else:
            found.append(ok(area, f"index {name}", f"the index {name} is there"))
    return found


def _expiry(area: str, outcome: Outcome) -> Finding:
    if outcome.kind != "answer":
        return unchecked(
            area, "expiry", "whether its rows expire is not known (dynamodb:DescribeTimeToLive)"
        )
    described = outcome.answer.get("TimeToLiveDescription", {})
    on = described.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    if on and described.get("AttributeName") == "expires_at":
        return ok(area, "expiry", "rows expire by expires_at")
    return warning(
        area,
        "expiry",
        "rows never expire: what people wrote is kept for ever",
        "enable TimeToLive on the attribute expires_at",
    )


async def _rights(aws: Caller, area: str, name: str, key: str, index: str | None) -> list[Finding]:
    row = {key: {"S": PROBE_KEY}}
    none = frozenset[str]()
    never = {"TableName": name, "ConditionExpression": f"attribute_exists({key})"}
    found = [
        await allowed(
            aws,
            area,
            "dynamodb:GetItem",
            none,
            ("dynamodb", "get_item"),
            TableName=name,
            Key=row,
        ),
        await allowed(
            aws, area, "dynamodb:PutItem", _CONDITION, ("dynamodb", "put_item"), **never, Item=row
        ),
        await allowed(
            aws,
            area,
            "dynamodb:UpdateItem",
            _CONDITION,
            ("dynamodb", "update_item"),
            **never,
            Key=row,
            UpdateExpression="SET probe = :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        ),
    ]
    if index:
        found.append(
            await allowed(
                aws,
                area,
                "dynamodb:Query",
                none,
                ("dynamodb", "query"),
                TableName=name,
                IndexName=index,
                KeyConditionExpression=f"{index} = :none",
                ExpressionAttributeValues={":none": {"S": PROBE_KEY}},
                Limit=1,
            )
        )
    return found
