"""What can be wrong with a subscription, a message or a delivery."""

from worker.domain.errors import WorkerError


class InvalidSubscriptionError(WorkerError):
    """A subscription cannot be as it was asked for.

    Attributes:
        problems: one text each: what is wrong, with which value, what to do.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class UnreadableMessageError(WorkerError):
    """A message of the webhook queue is neither an event nor a wake.

    Attributes:
        reason: "invalid_json" or "invalid_event".
    """

    def __init__(self, reason: str, problem: str) -> None:
        self.reason = reason
        super().__init__(problem)


class ChangedError(WorkerError):
    """What was to be written has changed since it was read: read it again and decide anew."""
