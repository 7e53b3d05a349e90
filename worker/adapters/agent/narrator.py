"""The CLI's messages, as the steps that a turn tells."""

from collections.abc import Callable

from claude_agent_sdk import AssistantMessage, Message, ToolUseBlock
from claude_agent_sdk.types import StreamEvent

from worker.domain.progress import Step, TextSoFar, ToolCall
from worker.domain.summary import summary


class Narrator:
    """Follows the messages of one turn. A subagent's tools are told, its text is not: that is for
    the agent that called it.
    """

    def __init__(self, report: Callable[[Step], None], workspace: str) -> None:
        self._report = report
        self._workspace = workspace
        self._text = ""
        self._model_calls = 0
        self._tool_calls: set[str] = set()

    def follow(self, message: Message) -> None:
        match message:
            case StreamEvent(parent_tool_use_id=None):
                self._stream(message)
            case AssistantMessage():
                for block in message.content:
                    if isinstance(block, ToolUseBlock) and block.id not in self._tool_calls:
                        self._tool_calls.add(block.id)
                        self._report(self._call(block))
            case _:
                pass

    def _stream(self, message: StreamEvent) -> None:
        match message.event:
            case {"type": "message_start"}:
                self._model_calls += 1
                self._text = ""
            case {"type": "content_block_start", "content_block": {"type": "text"}} if self._text:
                self._text += "\n\n"
            case {
                "type": "content_block_delta",
                "delta": {"type": "text_delta", "text": str(added)},
            }:
                self._text += added
                self._report(TextSoFar(self._text, self._model_calls, len(self._tool_calls)))
            case _:
                pass

    def _call(self, block: ToolUseBlock) -> ToolCall:
        return ToolCall(
            block.name,
            summary(block.name, block.input, self._workspace),
            max(self._model_calls, 1),
            len(self._tool_calls),
        )
