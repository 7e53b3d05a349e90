"""Attachments as content blocks of the Messages API: read, checked and decoded."""

import base64
import functools
import io
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from contracts import JobRequest
from worker.adapters.aws import Aws, RefusedError
from worker.domain.attachment import Content, checked
from worker.domain.policy import AttachmentRules, RefusedOptionError

MAX_SIDE = 8000
"""Pixels of an image's side that the Messages API takes ("Vision", image size)."""

MAX_PIXELS = 40_000_000

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
"""Of Pillow's many decoders, only those whose files the domain lets pass."""

Blocks = tuple[dict[str, Any], ...]
Read = Callable[[str, int], Awaitable[bytes]]
"""Reads an object by its key, at most so many bytes and one."""


class S3Attachments:
    """The attachments port: inline, or in SESSION_BUCKET under attachments/<tenant>/."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket

    async def load(self, request: JobRequest, rules: AttachmentRules) -> Blocks:
        aws = self._aws.of(request.tenant_id)
        return await load(request, rules, functools.partial(self._read, aws))

    async def _read(self, aws: Aws, key: str, size: int) -> bytes:
        try:
            answer = await aws.call(
                "s3", "get_object", Bucket=self._bucket, Key=key, Range=f"bytes=0-{size}"
            )
        except RefusedError as exc:
            raise _unreadable(key, f"cannot be read ({exc.code})") from exc
        data: bytes = await aws.run(answer["Body"].read)
        return data


async def load(request: JobRequest, rules: AttachmentRules, read: Read) -> Blocks:
    """Every attachment as a block, in order. Raises RefusedOptionError."""
    blocks = []
    for attachment in request.attachments:
        if attachment.data is not None:
            data = base64.b64decode(attachment.data)
        else:
            data = await read(str(attachment.key), rules.size)
        blocks.append(_block(checked(attachment.name, data, rules)))
    return tuple(blocks)


def _block(content: Content) -> dict[str, Any]:
    if content.media_type == "text/plain":
        source = {"type": "text", "media_type": "text/plain", "data": content.data.decode()}
        return {"type": "document", "source": source, "title": content.name}
    encoded = base64.b64encode(content.data).decode()
    source = {"type": "base64", "media_type": content.media_type, "data": encoded}
    if content.media_type == "application/pdf":
        if b"%%EOF" not in content.data[-2048:]:
            raise _unreadable(content.name, "is a PDF that was cut short")
        return {"type": "document", "source": source, "title": content.name}
    _decode(content)
    return {"type": "image", "source": source}


def _decode(content: Content) -> None:
    """The CLI drops an image that it cannot decode without a word, so it is tried before."""
    from PIL import Image  # noqa: PLC0415 - only the few that bring an image wait for it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content.data), formats=FORMATS) as image:
                width, height = image.size
                if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
                    raise _unreadable(
                        content.name, f"has {width} x {height} pixels; {MAX_SIDE} a side at most"
                    )
                image.load()
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as exc:
        raise _unreadable(content.name, f"is an image that cannot be decoded ({exc})") from exc


def _unreadable(name: str, problem: str) -> RefusedOptionError:
    return RefusedOptionError("attachment_unreadable", f"attachments: {name!r} {problem}")
