"""A tool call in a few words, for people who watch: which tool, on what. Never contents, and
nothing that looks like a secret.

What a stranger's message or a file says may be in any argument, so little of each is shown: of a
command its first line without quoted text, of a path its end, of a URL neither query nor login.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from contracts.progress import MAX_SUMMARY

HIDDEN = "[…]"

_QUOTED = re.compile(r"'[^']*'?|\"(?:\\.|[^\"\\])*\"?|`[^`]*`?")
_HEREDOC = re.compile(r"<<.*")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>|;&]+", re.IGNORECASE)

_NAMES = r"authorization|bearer|basic|token|secret|passw(?:or)?d|passwd|pwd|credentials?|cookie"
_KEYS = r"(?:api|access|private|auth|secret|ssh)[-_]?keys?(?:[-_]?id)?"
_SECRETS = (
    # What follows a telling name: token=x, --password x, Authorization: Bearer x.
    re.compile(
        rf"(?i)([\w-]*(?:{_NAMES}|{_KEYS})[\w-]*)(\s*[=:]\s*|\s+)(?:(?:bearer|basic)\s+)?\S+"
    ),
    # An assignment before a command: what it is called need not tell that it is one.
    re.compile(r"()(\b[A-Z_][A-Z0-9_]*=)\S+"),
    # -p and -u of many clients carry a password.
    re.compile(r"((?<!\S)-[pu])(\s*)\S*[^\s/\w.-]\S*"),
    # Well-known beginnings of keys, and JSON Web Tokens.
    re.compile(
        r"()()\b(?:(?:sk|pk|rk|xox[a-z]|glpat)-|(?:gh[pousr]|github_pat|whsec|npm|hf|sk_live)_"
        r"|AKIA|ASIA|AIza|ya29\.|eyJ)[\w.=+/-]{6,}"
    ),
    # A long word of letters and digits.
    re.compile(r"()()(?=[\w+=]*\d)(?=[\w+=]*[A-Za-z])[\w+=]{20,}"),
)


def summary(tool: str, arguments: Mapping[str, Any], workspace: str = "") -> str:
    """At most 120 characters, such as "Read notes.txt" or "Bash: git status".

    `workspace` is the directory that the agent works in: paths in it are shown from there.
    """
    return redacted(_summary(tool, arguments, workspace))


def redacted(text: str) -> str:
    """One line without what looks like a secret, at most 120 characters."""
    line = " ".join(text.split())
    line = _URL.sub(lambda found: _bare(found[0]), line)
    for secret in _SECRETS:
        line = secret.sub(rf"\1\2{HIDDEN}", line)
    return line if len(line) <= MAX_SUMMARY else f"{line[: MAX_SUMMARY - 1]}…"


def _summary(tool: str, arguments: Mapping[str, Any], workspace: str) -> str:
    def text(name: str) -> str:
        return str(arguments.get(name) or "")

    match tool:
        case "Bash":
            return f"Bash: {_command(text('command'))}"
        case "Read" | "Write" | "Edit" | "MultiEdit" | "NotebookEdit" | "LS":
            path = text("file_path") or text("notebook_path") or text("path")
            return f"{tool} {_within(path, workspace)}"
        case "Glob" | "Grep":
            return f"{tool} {text('pattern')}"
        case "WebFetch":
            return f"WebFetch {text('url')}"
        case "WebSearch":
            return f"WebSearch {text('query')}"
        case "Agent" | "Task":
            return f"{tool}: {text('description')}"
        case "Skill":
            return f"Skill {text('skill') or text('command')}"
        case _:
            return ": ".join(tool.split("__")[1:3]) if tool.startswith("mcp__") else tool


def _command(command: str) -> str:
    """Its first line. Quoted text and what follows `<<` is often what is written to a file."""
    first = next(iter(command.strip().splitlines()), "")
    return _QUOTED.sub(HIDDEN, _HEREDOC.sub("", first))


def _within(path: str, workspace: str) -> str:
    shown = path.removeprefix(workspace.rstrip("/") + "/") if workspace else path
    return shown if len(shown) <= MAX_SUMMARY // 2 else f"…{shown[-MAX_SUMMARY // 2 :]}"


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
