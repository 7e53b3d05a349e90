"""Immutable objects in SESSION_BUCKET: written once, verified when read."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.adapters.aws import Aws, RefusedError
from worker.adapters.spool import Spool
from worker.domain.errors import StateDamagedError, UnavailableError
from worker.domain.session import Segment

if TYPE_CHECKING:
    from botocore.response import StreamingBody

CHUNK = 1024 * 1024


class ObjectStore:
    """The session bucket."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket
        self.run = aws.run

    def of(self, tenant: str) -> "ObjectStore":
        """As a tenant's work may use it."""
        return ObjectStore(self._aws.of(tenant), self._bucket)

    async def put(self, key: str, data: bytes | Spool) -> None:
        """Write once: an existing object of this name is an earlier try of the same write."""
        try:
            await self._aws.call(
                "s3",
                "put_object",
                Bucket=self._bucket,
                Key=key,
                Body=data,
                IfNoneMatch="*",
                ContentType="application/zstd",
            )
        except RefusedError as exc:
            if exc.code not in {"PreconditionFailed", "412"}:
                raise

    async def seal(self, key: str, data: Spool, written_at: float) -> Segment:
        """Write a segment once; what the manifest says of it."""
        await self.put(key, data)
        return Segment(key, data.size, data.sha256, written_at)

    async def fetch(self, segment: Segment, target: Path) -> None:
        """Download and verify; raises StateDamagedError."""
        if await self.get(segment.key, target) != segment.sha256:
            raise StateDamagedError("corrupt", segment.key)

    async def get(self, key: str, target: Path) -> str:
        """Download; returns the SHA-256 in hex. Raises StateDamagedError("missing")."""
        try:
            answer = await self._aws.call("s3", "get_object", Bucket=self._bucket, Key=key)
        except RefusedError as exc:
            # S3 hides that an object is missing from who may not list the whole bucket, such as a
            # tenant's role.
            hidden = exc.code in {"AccessDenied", "403"} and not await self.keys(key)
            if hidden or exc.code in {"NoSuchKey", "404"}:
                raise StateDamagedError("missing", key) from exc
            raise
        digest: str = await self._aws.run(lambda: _download(answer["Body"], target))
        return digest

    async def keys(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`, sorted."""
        found: list[str] = []
        token: dict[str, Any] = {}
        while True:
            answer = await self._aws.call(
                "s3", "list_objects_v2", Bucket=self._bucket, Prefix=prefix, **token
            )
            found += [item["Key"] for item in answer.get("Contents", [])]
            if not answer.get("IsTruncated"):
                return sorted(found)
            token = {"ContinuationToken": answer["NextContinuationToken"]}


def _download(body: "StreamingBody", target: Path) -> str:
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - see `clients`
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    digest = hashlib.sha256()
    try:
        with target.open("wb") as out:
            for chunk in body.iter_chunks(CHUNK):
                digest.update(chunk)
                out.write(chunk)
    except (BotoCoreError, HTTPError) as exc:
        raise UnavailableError("s3", f"get_object: {exc}") from exc
    except OSError as exc:
        raise UnavailableError("disk", f"{exc.strerror} ({target})") from exc
    return digest.hexdigest()
