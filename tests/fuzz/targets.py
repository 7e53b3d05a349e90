"""Everything that parses what comes from outside, as functions of bytes. One that raises anything
but the errors its reader promises has found a defect.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import zstandard

from contracts import InvalidRequest, JobRequest, parse_event
from contracts.auth import authorized, signed_at
from contracts.errors import InvalidEvent, InvalidSignature
from contracts.webhooks import new_webhook_secret, sign_webhook, verify_webhook
from worker.access_settings import read_producers, read_tenants
from worker.adapters.attachments import _block
from worker.adapters.filetree import FileTree
from worker.adapters.queue import dead_letter, message_of
from worker.adapters.segments import MalformedSegmentError, restore
from worker.adapters.turnlog import _entries
from worker.domain.access import Producer
from worker.domain.admission import Rejection, admit
from worker.domain.attachment import checked
from worker.domain.disposition import DeadLetter
from worker.domain.errors import UnavailableError
from worker.domain.job import Job
from worker.domain.policy import AttachmentRules, Policy, RefusedOptionError
from worker.domain.resume import grafted, in_session, recorded_part
from worker.operations.archive import ArchiveError, read_archive
from worker.replay.record import MalformedLetterError, letter_of
from worker.webhooks.errors import UnreadableMessageError
from worker.webhooks.event import read_message

ROOT = Path(__file__).parent.parent.parent
NOW = 1_800_000_000.0
SECRET = new_webhook_secret()
POLICY = Policy(
    auth_tokens=("token",),
    producers=(Producer("bot", ("key",), ("acme",)),),
    signature_window_seconds=60,
)


def request(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        JobRequest.parse(data)


def message(data: bytes) -> None:
    """A whole SQS message: the body, a separator, then its attributes as JSON."""
    body, _, rest = data.partition(b"\x00")
    text = body.decode("utf-8", "replace")
    attributes = {"auth_token": "token"}
    with contextlib.suppress(ValueError, RecursionError):
        given = json.loads(rest)
        if isinstance(given, dict):
            attributes |= {str(name): str(item) for name, item in list(given.items())[:10]}
    raw = {
        "MessageId": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "ReceiptHandle": "r",
        "Body": text,
        "Attributes": {"MessageGroupId": "1", "SentTimestamp": "1800000000000"},
        "MessageAttributes": {n: {"StringValue": item} for n, item in attributes.items()},
    }
    received = message_of(raw)
    outcome = admit(received, POLICY)
    assert isinstance(outcome, Job | Rejection)
    if isinstance(outcome, Rejection):
        letter = DeadLetter(outcome.job_id, outcome.reason, outcome.error, 0)
        sent = json.dumps(dead_letter("url", received, letter)["MessageAttributes"])
        assert '"auth_token"' not in sent


def attachment(data: bytes) -> None:
    with contextlib.suppress(RefusedOptionError):
        _block(checked("a name", data, AttachmentRules()))


def signature(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    signed_at(text)
    assert not authorized(b"body", token=text, signature=text, secrets=("a secret nobody has",))


def webhook_headers(data: bytes) -> None:
    """Three header values and a body, separated by newlines."""
    parts = [*data.decode("latin-1").split("\n", 3), "", "", ""][:4]
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    with contextlib.suppress(InvalidSignature):
        verify_webhook(dict(zip(names, parts[:3], strict=True)), parts[3], [SECRET], now=NOW)
        raise AssertionError("a signature that nobody made")


def webhook_body(data: bytes) -> None:
    """Whatever is signed is genuine, and only as it was signed."""
    headers = sign_webhook("id", int(NOW), data, [SECRET])
    verify_webhook(headers, data, [SECRET], now=NOW)
    with contextlib.suppress(InvalidSignature):
        verify_webhook(headers, data + b"x", [SECRET], now=NOW)
        raise AssertionError("the signature of another body")


def webhook_queue(data: bytes) -> None:
    with contextlib.suppress(UnreadableMessageError):
        read_message(data.decode("utf-8", "replace"))


def event(data: bytes) -> None:
    with contextlib.suppress(InvalidEvent):
        parse_event(data)


def _packed(data: bytes) -> bytes:
    """As stored when the first byte is odd: otherwise fuzzing would only see that it is no zstd."""
    return data[1:] if data[:1] < b"\x80" else zstandard.compress(data[1:])


def segment(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "segment"
        stored.write_bytes(_packed(data))
        with contextlib.suppress(MalformedSegmentError):
            restore([stored], Path(folder) / "inside" / "projects", "-p")
        _nothing_outside(Path(folder), {"segment", "inside"})


def turn_log(data: bytes) -> None:
    """What a cut-off turn had recorded, as its next attempt reads it."""
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "1-1.lines.zst"
        stored.write_bytes(_packed(data))
        with contextlib.suppress(UnavailableError):
            kept = recorded_part([entry for _, entry in _entries([stored])])
            json.dumps([in_session(entry, "s") for entry in grafted(kept, "u")])


def workspace(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        root.mkdir()
        with contextlib.suppress(MalformedSegmentError):
            FileTree({"workspace": root}).apply(io.BytesIO(_packed(data)))
        _nothing_outside(Path(folder), {"workspace"})


def session_file(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(ArchiveError):
            read_archive(Path(file.name))


def letters(data: bytes) -> None:
    """A replay's import: one letter, as JSON."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(record, dict):
        with contextlib.suppress(MalformedLetterError):
            letter_of(record)


def settings(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    if text.strip().startswith(("/", "./")):
        return
    for read in (read_producers, read_tenants):
        with contextlib.suppress(ValueError):
            read(text)


def _nothing_outside(folder: Path, expected: set[str]) -> None:
    assert {path.name for path in folder.iterdir()} <= expected


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        *(request, message, attachment, signature, webhook_headers, webhook_body, webhook_queue),
        *(event, segment, turn_log, workspace, session_file, letters, settings),
    )
}


def seeds(name: str) -> list[bytes]:
    """Good input, for a fuzzer to damage."""
    examples = ROOT / "contracts" / "examples"
    match name:
        case "request" | "message" | "settings":
            found = [p.read_bytes() for p in sorted((examples / "valid").glob("*.json"))]
            return [*found, *(body + b'\x00{"auth_token": "key", "job_id": "j"}' for body in found)]
        case "event" | "webhook_queue" | "webhook_body":
            return [path.read_bytes() for path in sorted((examples / "events").glob("*.json"))]
        case "signature":
            return [b"t=1800000000,v1=" + b"0" * 64, b"token"]
        case "webhook_headers":
            headers = sign_webhook("id", int(NOW), b"{}", [new_webhook_secret()])
            return ["\n".join([*headers.values(), "{}"]).encode()]
        case "attachment":
            return [*map(_image, ("PNG", "JPEG", "GIF", "WEBP")), b"%PDF-1.4\n%%EOF", b"a text"]
        case "turn_log":
            call = b'{"content": [{"type": "tool_use", "id": "t"}]}'
            line = b'{"type": "assistant", "uuid": "u", "message": %s}\n' % call
            header = b'{"project_key": "-p", "session_id": "s", "subpath": "", "size": %d}\n'
            lines = header % len(line) + line
            return [b"\xff" + lines, b"\xff" + lines * 2]
        case "segment":
            header = b'{"project_key": "-p", "session_id": "s", "subpath": "", "size": 3}\n{}\n'
            agent = header.replace(b'"subpath": ""', b'"subpath": "subagents/a"')
            return [b"\xff" + header, b"\xff" + agent, b"\xff" + header * 2]
        case "workspace":
            return [b"\xff" + _tar(("workspace/a/b", b"x")), b"\xff" + _tar((".deleted", b'["a"]'))]
        case "session_file":
            return [_tar(("manifest.json", b"{}")), _tar(("lines/0.zst", b"x"))]
        case _:
            letter = (
                b'{"letter": "a-b", "version": 1, "since": 1.5, "group": "1", "authentic": true, '
                b'"attributes": {"job_id": "j"}, "body": "{}"}'
            )
            return [letter]


def _image(kind: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (3, 2)).save(out, kind)
    return out.getvalue()


def _tar(*members: tuple[str, bytes]) -> bytes:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
