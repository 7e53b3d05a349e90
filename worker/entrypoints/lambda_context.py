"""What Lambda tells a function about its invocation."""

from typing import Protocol


class LambdaContext(Protocol):
    """The part of Lambda's context that is used."""

    def get_remaining_time_in_millis(self) -> int: ...
