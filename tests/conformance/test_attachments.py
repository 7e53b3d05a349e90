"""One suite for every place that attachments are read from."""

import base64
import io
import uuid

import boto3
import pytest
from PIL import Image

from contracts import JobRequest
from worker.adapters.attachments import S3Attachments
from worker.adapters.aws import Aws
from worker.adapters.memory import MemoryAttachments
from worker.domain.policy import AttachmentRules, RefusedOptionError

RULES = AttachmentRules(size=100_000)
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"


def picture(kind="PNG", size=(8, 8)):
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, kind)
    return out.getvalue()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.integration)])
def store(request):
    """(the port, how a producer puts an object)."""
    if request.param == "memory":
        port = MemoryAttachments()
        return port, port.objects.__setitem__
    bucket = request.getfixturevalue("resources")["SESSION_BUCKET"]
    aws = Aws()
    request.addfinalizer(aws.close)
    s3 = boto3.client("s3")
    put = lambda key, data: s3.put_object(Bucket=bucket, Key=key, Body=data)  # noqa: E731
    return S3Attachments(aws, bucket), put


def a_request(*attachments):
    return JobRequest.from_fields(
        {"user_message": "hi", "chat_id": "1", "attachments": list(attachments)}
    )


def a_key():
    return f"attachments/default/{uuid.uuid4().hex}"


async def test_files_come_as_blocks_in_their_order(store):
    port, put = store
    key = a_key()
    put(key, picture())
    inline = base64.b64encode("näh".encode()).decode()
    pdf = base64.b64encode(PDF).decode()
    blocks = await port.load(
        a_request({"name": "a.exe", "data": inline}, {"key": key}, {"data": pdf}), RULES
    )
    assert [block["type"] for block in blocks] == ["document", "image", "document"]
    assert blocks[0]["source"] == {"type": "text", "media_type": "text/plain", "data": "näh"}
    assert blocks[1]["source"]["media_type"] == "image/png"
    assert base64.b64decode(blocks[1]["source"]["data"]) == picture()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
async def test_each_kind_of_image_is_known_by_its_content(store, kind):
    port, put = store
    key = a_key()
    put(key, picture(kind))
    [block] = await port.load(a_request({"name": "x.txt", "key": key}), RULES)
    assert block["source"]["media_type"] == f"image/{kind.lower()}"


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (picture()[:40], "attachment_unreadable", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 500, "attachment_unreadable", "cannot be decoded"),
        (picture(size=(8001, 1)), "attachment_unreadable", "pixels"),
        (PDF[:-8], "attachment_unreadable", "cut short"),
        (b"MZ\x90\x00\x03\x00", "attachment_not_allowed", "neither an image"),
        (b"\x7fELF\x02\x01", "attachment_not_allowed", "neither an image"),
        (b"x" * 100_001, "attachment_not_allowed", "bytes"),
    ],
)
async def test_what_is_not_what_it_should_be_is_refused_with_what_is_wrong(store, data, code, says):
    port, put = store
    key = a_key()
    put(key, data)
    with pytest.raises(RefusedOptionError, match=says) as caught:
        await port.load(a_request({"name": "photo.png", "key": key}), RULES)
    assert caught.value.code == code


async def test_an_object_that_is_not_there_is_named(store):
    with pytest.raises(RefusedOptionError, match="NoSuchKey"):
        await store[0].load(a_request({"key": a_key()}), RULES)
