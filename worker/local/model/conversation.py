"""What a Messages API request says, seen as a conversation between a person and an agent.

The CLI adds texts of its own to a request: reminders, its environment, notes about interruptions.
They are no words of the person and are left out here.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

JSON = Mapping[str, object]

_ADDED_BLOCK = re.compile(
    r"<(?P<tag>system-reminder|command-[a-z]+|local-command-[a-z]+)>"
    r"(?:(?!<(?P=tag)>).)*?</(?P=tag)>",
    re.DOTALL,
)
_ADDED_NOTE = re.compile(r"\[Request interrupted by user[^\]]*\]")
_WORKING_DIRECTORY = re.compile(
    r"working directory: (/.*?)(?: \(was .*\))?\s*$", re.MULTILINE | re.IGNORECASE
)
_CONTINUATION = re.compile(
    r"continue[.!]?|continue (?:from )?where you left off\b.*", re.DOTALL | re.IGNORECASE
)
_COMPACTED = "This session is being continued from a previous conversation"
_SUMMARY_LINE = re.compile(r'^Message \d+: (".*")$', re.MULTILINE)


class MalformedRequestError(ValueError):
    """The request is not a Messages API request; the text says which part is wrong."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call the model made; `result` is None until a later message brings one."""

    id: str
    name: str
    input: JSON
    result: str | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """The story so far.

    `texts` are the person's messages, oldest first, without those that only say "continue":
    such a one goes on with the work of the message before it. `last_text` is the last message,
    whatever it says. `calls` are the tool calls made for the last of `texts`.
    """

    texts: tuple[str, ...] = ()
    last_text: str = ""
    calls: tuple[Call, ...] = ()
    tools: Mapping[str, JSON] = field(default_factory=dict)
    working_directory: str | None = None

    @property
    def task(self) -> str:
        return self.texts[-1] if self.texts else ""


def parse(body: object) -> Conversation:
    """Read a decoded request body. Raises MalformedRequestError; unknown parts are skipped."""
    if not isinstance(body, Mapping):
        raise MalformedRequestError(f"body: expected a JSON object, got {type(body).__name__}")
    messages = body.get("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise MalformedRequestError("messages: expected a list with at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise MalformedRequestError(f"messages.{index}: expected an object with a role")
    conversation = Conversation(
        tools=_tools(body.get("tools")),
        working_directory=_working_directory(body.get("system"), messages),
    )
    for message in messages:
        for block in _blocks(message.get("content")):
            conversation = _told(conversation, message["role"], block)
    return conversation


def summary(texts: Iterable[str]) -> str:
    """The person's messages in a form that `parse` finds again after a compaction."""
    return "\n".join(f"Message {n}: {json.dumps(text)}" for n, text in enumerate(texts, 1))


def _told(conversation: Conversation, role: str, block: JSON) -> Conversation:
    match role, block.get("type"):
        case "user", "text":
            return _said(conversation, _own_words(str(block.get("text", ""))))
        case "assistant", "tool_use":
            given = block.get("input")
            call = Call(
                id=str(block.get("id", "")),
                name=str(block.get("name", "")),
                input=given if isinstance(given, Mapping) else {},
            )
            return replace(conversation, calls=(*conversation.calls, call))
        case "user", "tool_result":
            return replace(conversation, calls=tuple(_answered(conversation.calls, block)))
        case _:
            return conversation


def _said(conversation: Conversation, text: str) -> Conversation:
    if not text:
        return conversation
    if text.startswith(_COMPACTED):
        said = tuple(json.loads(line) for line in _SUMMARY_LINE.findall(text))
        return replace(conversation, texts=said, last_text=said[-1] if said else "", calls=())
    if conversation.texts and _CONTINUATION.fullmatch(text):
        return replace(conversation, last_text=text)
    return replace(conversation, texts=(*conversation.texts, text), last_text=text, calls=())


def _answered(calls: tuple[Call, ...], block: JSON) -> Iterator[Call]:
    texts = (str(part.get("text", "")) for part in _blocks(block.get("content")))
    result = "\n".join(filter(None, map(_own_words, texts)))
    for call in calls:
        if call.id == block.get("tool_use_id"):
            yield replace(call, result=result, failed=block.get("is_error") is True)
        else:
            yield call


def _blocks(content: object) -> Iterator[JSON]:
    """Content as blocks: a string is one text block; what is no block is skipped."""
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, Sequence):
        yield from (block for block in content if isinstance(block, Mapping))


def _own_words(text: str) -> str:
    return _ADDED_NOTE.sub("", _ADDED_BLOCK.sub("", text)).strip()


def _tools(tools: object) -> dict[str, JSON]:
    """Input schema of each tool, by the tool's name."""
    schemas: dict[str, JSON] = {}
    for tool in tools if isinstance(tools, list) else []:
        if isinstance(tool, Mapping) and isinstance(tool.get("name"), str):
            schema = tool.get("input_schema")
            schemas[tool["name"]] = schema if isinstance(schema, Mapping) else {}
    return schemas


def _working_directory(system: object, messages: Sequence[JSON]) -> str | None:
    """The last one told in the system prompt, a system message or a reminder.

    The person's own words are not searched: talking about a directory does not move there.
    """
    told = [str(block.get("text", "")) for block in _blocks(system)]
    for message in messages:
        for block in _blocks(message.get("content")):
            text = str(block.get("text", ""))
            if message["role"] == "system":
                told.append(text)
            elif message["role"] == "user":
                told.extend(added.group() for added in _ADDED_BLOCK.finditer(text))
    found = [path for text in told for path in _WORKING_DIRECTORY.findall(text)]
    return found[-1] if found else None
