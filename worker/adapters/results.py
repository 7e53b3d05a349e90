"""Results that are too large for an event, in SESSION_BUCKET under results/."""

from collections.abc import Mapping

from worker.adapters.aws import Aws

URL_SECONDS = 7 * 86400
"""How long a presigned URL is asked to last (SigV4's maximum). One signed with a role's temporary
keys ends with them; bucket and key outlive it."""


class S3Results:
    """The results port on S3."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket

    async def store(self, key: str, text: str) -> Mapping[str, object]:
        body = text.encode()
        await self._aws.call(
            "s3",
            "put_object",
            Bucket=self._bucket,
            Key=key,
            Body=body,
            ContentType="text/plain; charset=utf-8",
        )
        url = await self._aws.run(
            lambda: self._aws.client("s3").generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=URL_SECONDS
            )
        )
        return {"bucket": self._bucket, "key": key, "size": len(body), "url": url}
