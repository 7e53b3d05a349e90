"""Looking into the dead-letter queue."""

import time
from typing import Any

from worker.domain.message import ORIGINAL_MESSAGE_ID_ATTRIBUTE
from worker.local.demo.claims import ClaimError

_PATIENCE_SECONDS = 30.0


def dead_letter(sqs: Any, queue: str, message_id: str) -> dict[str, str]:  # noqa: ANN401 - boto3
    """The dead letter of a message, once it is there: `body`, and its attributes by name.

    It stays in the queue. Raises ClaimError when it does not come.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answer = sqs.receive_message(
            QueueUrl=queue,
            WaitTimeSeconds=1,
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            MessageAttributeNames=["All"],
        )
        for message in answer.get("Messages", []):
            attributes = message["MessageAttributes"].items()
            letter = {name: attribute["StringValue"] for name, attribute in attributes}
            if letter.get(ORIGINAL_MESSAGE_ID_ATTRIBUTE) == message_id:
                return {**letter, "body": message["Body"]}
    raise ClaimError(
        f"message {message_id} is not in the dead-letter queue after {_PATIENCE_SECONDS:.0f} s"
    )
