"""What a file is, by its content, and whether it may be attached."""

import base64
from dataclasses import dataclass, field

from contracts import JobRequest
from worker.domain.policy import AttachmentRules, RefusedOptionError

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_KINDS = {"application/pdf": "pdf", "text/plain": "text"}


@dataclass(frozen=True, slots=True)
class Content:
    """A file as the model gets it; `media_type` is what its content shows."""

    name: str
    media_type: str
    data: bytes = field(repr=False)


def media_type(data: bytes) -> str | None:
    """By the first bytes; text is UTF-8 without control characters but layout. None: unknown."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    layout = "\t\n\r\f"
    printable = all(c >= " " or c in layout for c in text) and "\x7f" not in text
    return "text/plain" if text and printable else None


def checked(name: str, data: bytes, rules: AttachmentRules) -> Content:
    """The content, if the rules allow it. Raises RefusedOptionError ("attachment_not_allowed")."""
    if len(data) > rules.size:
        raise _refused(name, f"is {len(data)} bytes, and {rules.size} are allowed; send less")
    found = media_type(data)
    kind = None if found is None else _KINDS.get(found, "image")
    if found is None or kind not in rules.types:
        allowed = ", ".join(rules.types) or "nothing"
        what = "is neither an image, a PDF nor a text" if found is None else f"is {found}"
        raise _refused(name, f"{what} by its content, and allowed here is: {allowed}")
    return Content(name, found, data)


def check_request(request: JobRequest, rules: AttachmentRules) -> None:
    """What can be said without reading anything: number, the inline ones, and whose the keys are.
    Raises RefusedOptionError.
    """
    given = request.attachments
    if len(given) > rules.count:
        raise _refused(f"{len(given)} files", f"are more than the {rules.count} allowed here")
    for attachment in given:
        if attachment.data is not None:
            checked(attachment.name, base64.b64decode(attachment.data), rules)
        elif not str(attachment.key).startswith(f"attachments/{request.tenant_id}/"):
            raise _refused(
                attachment.name,
                f"lies outside of attachments/{request.tenant_id}/, which is this tenant's place",
            )


def _refused(name: str, problem: str) -> RefusedOptionError:
    return RefusedOptionError("attachment_not_allowed", f"attachments: {name!r} {problem}")
