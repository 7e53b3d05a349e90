"""The errors of the contract. They carry data; their text is for people.

ContractError
├── InvalidRequest        a body is not a valid request: a code and every problem
├── InvalidEvent          a body is not an event that this version knows
├── InvalidSignature      a webhook is not genuine, not unchanged, or not fresh
├── InvalidConfiguration  a producer or receiver cannot work with what it was given (a ValueError)
├── ResultTimeout         no result within the time (also a TimeoutError)
├── ResultUnavailable     the job has ended, but its record holds no event
└── FeedClosed            the producer was closed while a job was followed
"""
# ruff: noqa: N818 - named for what happened, as producers will read them

from collections.abc import Sequence
from typing import Literal


class ContractError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidRequest(ContractError):
    """A body is not a valid request.

    Attributes:
        code: "invalid_json" (it cannot be read) or "invalid_request" (it breaks a rule).
        problems: one text each: field, what is wrong, with which value, what to do. Values are
            shortened; the user's text is never in it.
    """

    def __init__(
        self, code: Literal["invalid_json", "invalid_request"], problems: Sequence[str]
    ) -> None:
        self.code = code
        self.problems = list(problems)
        super().__init__("; ".join(problems))


class InvalidEvent(ContractError):
    """A body is not an event that this version knows.

    Attributes:
        code: "invalid_json", "invalid_event", or "unknown_type": a type of a later version, to be
            skipped by a reader that does not want it.
        problems: one text each: field and what is wrong, never a value.
    """

    def __init__(
        self,
        code: Literal["invalid_json", "invalid_event", "unknown_type"],
        problems: Sequence[str],
    ) -> None:
        self.code = code
        self.problems = list(problems)
        super().__init__("; ".join(problems))


SignatureProblem = Literal["missing_header", "malformed", "too_old", "too_new", "no_match"]


class InvalidSignature(ContractError):
    """A webhook is not genuine, not unchanged, or not fresh: do not trust it; answer 400 or 401.

    Attributes:
        code: "missing_header", "malformed" (a header), "too_old", "too_new" or "no_match".
    """

    def __init__(self, code: SignatureProblem, problem: str) -> None:
        self.code = code
        super().__init__(f"the webhook is not valid: {problem}")


class InvalidConfiguration(ContractError, ValueError):
    """A producer or receiver cannot work with what it was given. The text names the setting."""


class ResultTimeout(ContractError, TimeoutError):
    """A job had no result in time. It may still get one: wait again, nothing needs resending.

    Attributes:
        job_id: the job; seconds: how long was waited; state: the last state seen, None when the
            job had no record yet (its message still waits in the queue).
    """

    def __init__(self, job_id: str, seconds: float, state: str | None) -> None:
        self.job_id = job_id
        self.seconds = seconds
        self.state = state
        seen = f"its last state was {state!r}" if state else "no worker has taken it yet"
        super().__init__(f"job {job_id} has no result after {seconds:g} s: {seen}; wait again")


class ResultUnavailable(ContractError):
    """A job has ended, but its record holds no event.

    Attributes:
        job_id: the job; state: how it ended.
    """

    def __init__(self, job_id: str, state: str) -> None:
        self.job_id = job_id
        self.state = state
        super().__init__(f"job {job_id} is {state!r} but its record holds no event")


class FeedClosed(ContractError):
    """The producer was closed while a job was followed. The job goes on: `wait` for it.

    Attributes:
        job_id: the job.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} has not ended, but the producer was closed")
