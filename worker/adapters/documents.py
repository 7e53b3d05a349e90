"""The workbench's documents, in SESSION_BUCKET under dead-letters/."""

import json
from collections.abc import Mapping
from typing import Any

from worker.adapters.aws import Aws, RefusedError

PREFIX = "dead-letters/"
SUFFIX = ".json"


class S3Documents:
    """One JSON object a document."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket

    async def put(self, key: str, document: Mapping[str, Any]) -> None:
        await self._aws.call(
            "s3",
            "put_object",
            Bucket=self._bucket,
            Key=_name(key),
            Body=json.dumps(document, ensure_ascii=False).encode(),
            ContentType="application/json",
        )

    async def get(self, key: str) -> dict[str, Any] | None:
        try:
            answer = await self._aws.call("s3", "get_object", Bucket=self._bucket, Key=_name(key))
        except RefusedError as exc:
            if exc.code in {"NoSuchKey", "404"}:
                return None
            raise
        found: dict[str, Any] = json.loads(await self._aws.run(answer["Body"].read))
        return found

    async def keys(self, prefix: str) -> list[str]:
        found: list[str] = []
        token: dict[str, Any] = {}
        while True:
            answer = await self._aws.call(
                "s3", "list_objects_v2", Bucket=self._bucket, Prefix=PREFIX + prefix, **token
            )
            found += [_key(item["Key"]) for item in answer.get("Contents", [])]
            if not answer.get("IsTruncated"):
                return sorted(found)
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    async def remove(self, key: str) -> None:
        await self._aws.call("s3", "delete_object", Bucket=self._bucket, Key=_name(key))


def _name(key: str) -> str:
    return f"{PREFIX}{key}{SUFFIX}"


def _key(name: str) -> str:
    return name.removeprefix(PREFIX).removesuffix(SUFFIX)
