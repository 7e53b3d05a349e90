"""Where a chat's messages and state live: message group, session key and the ids derived from them.

Every name is injective: two different (tenant, chat, thread) never share a message group or a
session, whatever characters their ids hold. Each part is percent-encoded (RFC 3986, UTF-8) down to
`[A-Za-z0-9._-]`, so the separators `/`, `:` and `~` occur only where they are put here.
"""

import hashlib
import re
from urllib.parse import quote

DEFAULT_TENANT = "default"

JOB_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,100}$"

MAX_GROUP_ID = 128
"""Characters of a MessageGroupId (Amazon SQS, SendMessage)."""

MAX_SESSION_KEY = 512
"""Characters of a session key: well below the 2,048 bytes of a DynamoDB partition key."""


def message_group_id(
    chat_id: str | int, thread_id: str | int | None = None, tenant_id: str = DEFAULT_TENANT
) -> str:
    """The SQS message group of a conversation: "123", "123:456" or "acme/123:456".

    At most 128 characters of SQS's alphabet; a longer one is its first 60 characters, "~" and the
    SHA-256 of the whole. Raises ValueError when an id is empty.
    """
    conversation = _conversation(chat_id, thread_id)
    whole = conversation if tenant_id == DEFAULT_TENANT else f"{_part(tenant_id)}/{conversation}"
    return _bounded(whole, MAX_GROUP_ID, 60)


def session_key(
    chat_id: str | int, thread_id: str | int | None = None, tenant_id: str = DEFAULT_TENANT
) -> str:
    """The key of a conversation's state: as its message group, always with the tenant.

    "default/123:456"; at most 512 characters. Raises ValueError when an id is empty.
    """
    return _bounded(f"{_part(tenant_id)}/{_conversation(chat_id, thread_id)}", MAX_SESSION_KEY, 440)


def deduplication_id(job_id: str) -> str:
    """The MessageDeduplicationId of a job: its id, or a hash where SQS would not take that."""
    return job_id if re.fullmatch(JOB_ID_PATTERN, job_id) else f"~{_digest(job_id)}"


def event_id(job_id: str, event_type: str) -> str:
    """The id of a job's event, the same however often it is published: "j-1/completed"."""
    return f"{job_id}/{event_type.rpartition('.')[2]}"


def _conversation(chat_id: str | int, thread_id: str | int | None) -> str:
    chat = _part(chat_id)
    return chat if thread_id is None else f"{chat}:{_part(thread_id)}"


def _part(value: str | int) -> str:
    text = str(value)
    if not text:
        raise ValueError("an id is empty; chat, thread and tenant have at least one character")
    return quote(text, safe="", errors="surrogatepass").replace("~", "%7E")


def _bounded(whole: str, limit: int, kept: int) -> str:
    return whole if len(whole) <= limit else f"{whole[:kept]}~{_digest(whole)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
