"""What the tables and the bucket hold at the end, read through the worker's own adapters."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from tests.soak.workload import TAG, Chat
from worker.adapters.aws import Aws
from worker.adapters.filetree import FileTree
from worker.adapters.items import head_of, record_of
from worker.adapters.objects import ObjectStore
from worker.adapters.transcript import Transcript
from worker.domain.errors import StateDamagedError
from worker.domain.job import JobRecord
from worker.domain.session import SessionHead

PROJECT = "-tmp-workspace"


@dataclass(frozen=True, slots=True)
class ChatState:
    """A chat's head, the tags of the prompts in its transcript, the lines of its workspace's log;
    `damage` tells of segments that cannot be restored.
    """

    head: SessionHead
    prompts: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    damage: str | None = None


def records(environ: Mapping[str, str]) -> dict[str, JobRecord]:
    """Every job in the job table; rows of another kind have a "#" in their key."""
    items = [item for item in _scan(environ["JOB_TABLE"]) if "#" not in item["job_id"]["S"]]
    return {(row := record_of(item)).job_id: row for item in items}


def chats(
    wanted: tuple[Chat, ...], environ: Mapping[str, str], folder: Path
) -> dict[str, ChatState]:
    """The wanted chats by their session keys."""
    items = {item["session_key"]["S"]: item for item in _scan(environ["SESSION_TABLE"])}
    aws = Aws(threads=8)
    store = ObjectStore(aws, environ["SESSION_BUCKET"])

    async def all_of_them() -> dict[str, ChatState]:
        return {
            chat.key: await _state(
                head_of(chat.key, items.get(chat.key)), store, _own(folder, chat.key)
            )
            for chat in wanted
        }

    try:
        return asyncio.run(all_of_them())
    finally:
        aws.close()


async def _state(head: SessionHead, store: ObjectStore, folder: Path) -> ChatState:
    lines = [folder / f"lines-{n}" for n in range(len(head.segments))]
    files = [folder / f"files-{n}" for n in range(len(head.files))]
    try:
        for segment, path in zip((*head.segments, *head.files), (*lines, *files), strict=True):
            await store.fetch(segment, path)
    except StateDamagedError as exc:
        return ChatState(head, damage=str(exc))
    key = {"project_key": PROJECT, "session_id": head.session_id or ""}
    entries = await Transcript(lines).load(key) or []
    tree = FileTree({name: folder / name for name in ("workspace", "session")})
    for archive in files:
        with archive.open("rb") as stored:
            tree.apply(stored)
    log = folder / "workspace" / "log.txt"
    written = log.read_text().split() if log.exists() else []
    return ChatState(head, tuple(tag for entry in entries for tag in _tags(entry)), tuple(written))


def _tags(entry: Mapping[str, Any]) -> list[str]:
    """The tags in what the person said: not those in a tool's result."""
    if entry.get("type") != "user":
        return []
    content = entry["message"]["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    said = [block["text"] for block in blocks if block.get("type") == "text"]
    return [found[0] for text in said if (found := TAG.search(text))]


def _scan(table: str) -> list[dict[str, Any]]:
    pages = boto3.client("dynamodb").get_paginator("scan")
    return [
        item
        for page in pages.paginate(TableName=table, ConsistentRead=True)
        for item in page["Items"]
    ]


def _own(folder: Path, key: str) -> Path:
    own = folder / "restored" / hashlib.sha256(key.encode()).hexdigest()[:12]
    for name in ("workspace", "session"):
        (own / name).mkdir(parents=True)
    return own
