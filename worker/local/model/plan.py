"""The tool calls that a message asks for."""

import json
import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

_STEPS = re.compile(r"steps:\s*(?P<steps>.+)", re.DOTALL | re.IGNORECASE)
_NEXT_STEP = re.compile(r"\s*;\s*(?=(?:run|read|write|call)\s)", re.IGNORECASE)
_STEP = re.compile(
    r"write\s+(?P<written>\S+):\s?(?P<content>.*)"
    r"|read\s+(?P<read>\S+)"
    r"|run\s+(?P<command>.+)"
    r"|call\s+(?P<tool>[\w-]+)(?:\s+(?P<input>\{.*\}))?",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Use:
    """A tool call to make."""

    name: str
    input: Mapping[str, object]


class NotPossibleError(Exception):
    """A step cannot be carried out; the text is what the model answers."""


def plan(task: str, tools: Mapping[str, object], working_directory: str | None) -> tuple[Use, ...]:
    """The calls that `task` asks for, in order; none when it asks for no tool.

    Raises:
        NotPossibleError: a step is not understood, or the request offers no tool for it.
    """
    listed = _STEPS.fullmatch(task)
    if listed is None:
        step = _STEP.fullmatch(task)
        return () if step is None else (_use(step, tools, working_directory),)
    return tuple(
        _use(_understood(text), tools, working_directory)
        for text in _NEXT_STEP.split(listed["steps"].strip().rstrip(";"))
    )


def _understood(text: str) -> re.Match[str]:
    step = _STEP.fullmatch(text.strip())
    if step is None:
        raise NotPossibleError(f"I do not understand the step '{text}'. Say 'help' for what I do.")
    return step


def _use(step: re.Match[str], tools: Mapping[str, object], working_directory: str | None) -> Use:
    for use in _candidates(step, working_directory):
        if use.name in tools:
            return use
    offered = ", ".join(sorted(tools)) or "none"
    raise NotPossibleError(f"I have no tool for '{step[0]}'. The tools I am offered: {offered}.")


def _candidates(step: re.Match[str], working_directory: str | None) -> tuple[Use, ...]:
    """The ways to carry out a step, best first. Write and Read take absolute paths only."""
    if step["command"]:
        return (Use("Bash", {"command": step["command"].strip()}),)
    if step["tool"]:
        return (Use(step["tool"], _json_object(step["input"] or "{}")),)
    if step["read"]:
        by_shell = Use("Bash", {"command": f"cat {shlex.quote(step['read'])}"})
        path = _absolute(step["read"], working_directory)
        return (by_shell,) if path is None else (Use("Read", {"file_path": path}), by_shell)
    file, content = step["written"], step["content"].strip() + "\n"
    by_shell = Use(
        "Bash", {"command": f"printf %s {shlex.quote(content)} | tee {shlex.quote(file)}"}
    )
    path = _absolute(file, working_directory)
    if path is None:
        return (by_shell,)
    return (Use("Write", {"file_path": path, "content": content}), by_shell)


def _absolute(file: str, working_directory: str | None) -> str | None:
    if file.startswith("/"):
        return file
    return None if working_directory is None else posixpath.join(working_directory, file)


def _json_object(text: str) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise NotPossibleError(f"I cannot read the tool's input as JSON: {exc}.") from exc
    return value if isinstance(value, dict) else {}
