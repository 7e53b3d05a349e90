"""Counters of usage on DynamoDB, in SESSION_TABLE beside the chats of their tenant.

    session_key   "acme/#budget/2026-11-24"     a "#" is in no chat's key
    used          settled and reserved, together, so that one condition can compare it
    holds         job id → {amount, until}: what is reserved

Every change is one conditional UpdateItem, so that parallel jobs cannot both take the last of a
limit, and a repeat of a change finds that its condition no longer holds. DynamoDB cannot add in a
condition, so "does it fit" is written as "used is at most what leaves room".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.adapters.aws import Aws, RefusedError
from worker.adapters.items import plain, values
from worker.domain.errors import UnavailableError
from worker.domain.usage import Account, Exhausted, Granted, tenant_of

RACES = 20
"""How often a reservation is decided anew because somebody else wrote first."""


class DynamoUsage:
    """The usage port on DynamoDB."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws = aws
        self._table = table

    async def reserve(
        self, accounts: Sequence[Account], job_id: str, amount: int, now: float, until: float
    ) -> Granted | Exhausted:
        granted = amount
        fresh: list[Account] = []
        for account in accounts:
            outcome, is_new = await self._reserve(account, job_id, granted, now, until)
            if isinstance(outcome, Exhausted):
                for taken in fresh:
                    await self._replace(taken, job_id, 0)
                return outcome
            granted = min(granted, outcome.amount)
            if is_new:
                fresh.append(account)
        return Granted(granted)

    async def settle(self, accounts: Sequence[Account], job_id: str, amount: int) -> None:
        for account in accounts:
            await self._replace(account, job_id, amount)

    async def count(self, accounts: Sequence[Account]) -> Account | None:
        for account in accounts:
            counted = await self._update(
                account.key,
                "SET #expires_at = :expires_at ADD #used :one",
                "attribute_not_exists(#used) OR #used < :limit",
                {":one": 1, ":limit": account.limit, ":expires_at": account.expires_at},
            )
            if not counted:
                return account
        return None

    async def _reserve(
        self, account: Account, job_id: str, amount: int, now: float, until: float
    ) -> tuple[Granted | Exhausted, bool]:
        for _ in range(RACES):
            if await self._hold(account, job_id, amount, until):
                return Granted(amount), True
            row = await self._row(account.key)
            if row is None:
                await self._update(
                    account.key,
                    "SET #used = :zero, #holds = :none",
                    "attribute_not_exists(#used)",
                    {":zero": 0, ":none": {}},
                )
                continue
            holds: Mapping[str, Mapping[str, Any]] = row["holds"]
            if job_id in holds:
                if await self._prolong(account.key, job_id, until):
                    return Granted(int(holds[job_id]["amount"])), False
                continue
            dead = [job for job, hold in holds.items() if hold["until"] < now]
            for job in dead:
                await self._replace(account, job, 0, seen=holds[job])
            room = account.limit - int(row["used"])
            if not dead and room <= 0:
                return Exhausted(
                    account, sum(int(hold["amount"]) for hold in holds.values())
                ), False
            if not dead:
                amount = min(amount, room)
        raise UnavailableError("dynamodb", f"reservation in {account.key} lost {RACES} races")

    async def _hold(self, account: Account, job_id: str, amount: int, until: float) -> bool:
        return await self._update(
            account.key,
            "SET #used = #used + :amount, #holds.#job = :hold, #expires_at = :expires_at",
            "attribute_not_exists(#holds.#job) AND #used <= :room",
            {
                ":amount": amount,
                ":hold": {"amount": amount, "until": until},
                ":room": account.limit - amount,
                ":expires_at": account.expires_at,
            },
            job_id,
        )

    async def _prolong(self, key: str, job_id: str, until: float) -> bool:
        return await self._update(
            key,
            "SET #holds.#job.#until = :until",
            "attribute_exists(#holds.#job)",
            {":until": until},
            job_id,
        )

    async def _replace(
        self, account: Account, job_id: str, amount: int, seen: Mapping[str, Any] | None = None
    ) -> None:
        """End the job's hold and count `amount` instead; nothing when there is none (any more)."""
        if seen is None:
            row = await self._row(account.key)
            seen = row["holds"].get(job_id) if row else None
        if seen is None:
            return
        await self._update(
            account.key,
            "SET #used = #used + :change REMOVE #holds.#job",
            "#holds.#job = :seen",
            {":change": amount - int(seen["amount"]), ":seen": dict(seen)},
            job_id,
        )

    async def _row(self, key: str) -> dict[str, Any] | None:
        answer = await self._aws.of(tenant_of(key)).call(
            "dynamodb", "get_item", TableName=self._table, Key=_key(key), ConsistentRead=True
        )
        return plain(answer["Item"]) if "Item" in answer else None

    async def _update(
        self,
        key: str,
        change: str,
        condition: str,
        items: Mapping[str, object],
        job_id: str | None = None,
    ) -> bool:
        """One conditional write; False when the condition does not hold."""
        names = ("used", "holds", "expires_at", "until")
        used_names = {f"#{name}": name for name in names if f"#{name}" in change + condition}
        try:
            await self._aws.of(tenant_of(key)).call(
                "dynamodb",
                "update_item",
                TableName=self._table,
                Key=_key(key),
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames=used_names | ({"#job": job_id} if job_id else {}),
                ExpressionAttributeValues=values(items),
            )
        except RefusedError as exc:
            if exc.code == "ConditionalCheckFailedException":
                return False
            raise
        return True


def _key(key: str) -> dict[str, Any]:
    return {"session_key": {"S": key}}
