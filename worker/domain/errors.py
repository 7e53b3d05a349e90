"""The errors of the worker. Callers branch on the class and its data, never on the text.

WorkerError
├── SettingsError          configuration: every problem at once; the process does not start
├── LeaseLostError         another worker owns this chat now: stop, change nothing
├── UnavailableError       an outside system failed for now: the message is retried
├── StateDamagedError      committed session files are gone or corrupt: the session is reset
└── WorkspaceLimitError    the workspace is over its limits: the turn counts, its files do not
"""

from collections.abc import Sequence
from typing import Literal


class WorkerError(Exception):
    """Base of everything the worker raises on purpose."""


class SettingsError(WorkerError):
    """The configuration cannot be used.

    Attributes:
        problems: one line each: name, what is wrong, what to do. Never a secret's value.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "The configuration has problems:\n" + "\n".join(f"  - {p}" for p in problems)
        )


class LeaseLostError(WorkerError):
    """A conditional write found a newer generation: this worker is a zombie for this chat.

    Attributes:
        session_key: the chat; generation: the fencing token this worker held.
    """

    def __init__(self, session_key: str, generation: int) -> None:
        self.session_key = session_key
        self.generation = generation
        super().__init__(f"lease of {session_key} lost: generation {generation} is not current")


class UnavailableError(WorkerError):
    """An outside system did not do what was asked, for now.

    Attributes:
        system: which one ("sqs", "dynamodb", "s3", "sns", "eventbridge", "agent", ...).
    """

    def __init__(self, system: str, message: str) -> None:
        self.system = system
        super().__init__(f"{system}: {message}")


class StateDamagedError(WorkerError):
    """A committed file of a session cannot be restored.

    Attributes:
        reason: "missing" or "corrupt"; key: the object that was asked for.
    """

    def __init__(self, reason: Literal["missing", "corrupt"], key: str) -> None:
        self.reason = reason
        self.key = key
        super().__init__(f"session file {key} is {reason}")


class WorkspaceLimitError(WorkerError):
    """A chat's files are more, or larger, than the deployment keeps. The text says which limit."""
