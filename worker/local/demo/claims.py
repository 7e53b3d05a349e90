"""What the demo claims, checked. Each raises ClaimError with what was found instead."""

import itertools
from collections.abc import Mapping, Sequence

from contracts import (
    Event,
    FinalEvent,
    JobCompleted,
    JobCompletedEvent,
    JobProgressEvent,
    JobStartedEvent,
    StreamEvent,
)
from worker.local.demo.timeline import Run


class ClaimError(Exception):
    """The system has not done what the demo says that it does."""


def answered(event: Event) -> JobCompleted:
    """The job was answered, without an error."""
    if not isinstance(event, JobCompletedEvent) or event.data.is_error:
        raise ClaimError(
            f"job {event.subject} was not answered: {event.type}, {event.data.error_message}"
        )
    return event.data


def remembers(answer: JobCompleted, fact: str) -> None:
    """The answer holds what was told in an earlier turn."""
    if fact not in answer.response:
        raise ClaimError(
            f"memory was lost: the answer of job {answer.job_id} does not mention {fact!r}: "
            f"{answer.response!r}"
        )


def does_not_know(answer: JobCompleted, fact: str) -> None:
    """The answer holds nothing of another conversation."""
    if fact in answer.response:
        raise ClaimError(
            f"memory is shared: job {answer.job_id} knows {fact!r} of another conversation: "
            f"{answer.response!r}"
        )


def is_continued(answer: JobCompleted, session_id: str) -> None:
    """The turn went on in the session of the turns before."""
    if (answer.session_status, answer.session_id) != ("continued", session_id):
        raise ClaimError(
            f"the session was lost: job {answer.job_id} should continue {session_id}, but its "
            f"session {answer.session_id} is {answer.session_status!r}"
        )


def was_followed(heard: Sequence[StreamEvent], steps: Sequence[str]) -> None:
    """A bot was told that the job began, each step, some of the text, and the result at the end."""
    told = [event.data for event in heard if isinstance(event, JobProgressEvent)]
    found = [data.summary for data in told if data.kind == "tool"]
    if not isinstance(heard[0], JobStartedEvent) or found != list(steps):
        raise ClaimError(
            f"progress was lost: expected the start and the steps {list(steps)}, "
            f"heard {heard[0].type} and {found}"
        )
    if not any(data.text for data in told):
        raise ClaimError("progress was lost: nothing of the text was told before the result")
    if any(isinstance(event, FinalEvent) for event in heard[:-1]):
        raise ClaimError("the result was not the last that the bot was told")


def keeps_order(runs: Sequence[Run]) -> None:
    """Turns of each chat took place one at a time, in the order sent (the order of `runs`).

    Turn n must be the n-th message of its transcript, and begin when the one before has ended.
    """
    for chat in {run.chat for run in runs}:
        own = [run for run in runs if run.chat == chat]
        for number, run in enumerate(own, 1):
            if f"message {number} of" not in run.response:
                raise ClaimError(
                    f"order was broken: message {number} of chat {chat} was answered with "
                    f"{run.response!r}"
                )
        for earlier, later in itertools.pairwise(own):
            if later.start < earlier.end:
                raise ClaimError(
                    f"order was broken: {later.job_id} began {earlier.end - later.start:.2f} s "
                    f"before {earlier.job_id} had ended"
                )


def runs_in_parallel(runs: Sequence[Run]) -> None:
    """At some time two chats were worked on."""
    if not any(
        one.chat != other.chat and one.start < other.end and other.start < one.end
        for one in runs
        for other in runs
    ):
        raise ClaimError("the chats have waited for each other: no two of their turns overlap")


def has_reason(letter: Mapping[str, str], body: str, reason: str, field: str) -> None:
    """The dead letter is the message that was sent, and tells what is wrong with it."""
    if letter["body"] != body:
        raise ClaimError(f"the dead letter is not the message that was sent: {letter['body']!r}")
    found = letter.get("dead_letter_reason"), letter.get("dead_letter_error", "")
    if found[0] != reason or field not in found[1]:
        raise ClaimError(
            f"the dead letter lacks its reason: expected {reason!r} and a text about {field!r}, "
            f"found {found[0]!r} and {found[1]!r}"
        )


def were_all_heard(committed: Sequence[Event], received: Sequence[Event]) -> None:
    """What the subscriber has is what the job table has, one event for each job."""
    for event in committed:
        heard = [other for other in received if other.subject == event.subject]
        if heard != [event]:
            raise ClaimError(
                f"the subscriber should have received {event.id} once, as it was committed, "
                f"but has {[other.id for other in heard]}"
            )
    if len(received) != len(committed):
        raise ClaimError(f"the subscriber has {len(received)} events of {len(committed)} jobs")
