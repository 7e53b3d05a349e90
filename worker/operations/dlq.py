"""Puts the dead-letter workbench together, and says who uses it."""

import os
import socket
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from worker.adapters.aws import Aws
from worker.adapters.clock import SystemClock
from worker.adapters.deadletters import SqsDeadLetters
from worker.adapters.deskrows import DynamoRows
from worker.adapters.documents import S3Documents
from worker.adapters.secrets import References
from worker.domain.errors import SettingsError, WorkerError
from worker.operations.identity import user_name
from worker.replay.desk import Desk
from worker.replay.ports import DeskPorts, Operator
from worker.setting_types import Secrets
from worker.settings import Resources


class DeskSettings(Resources):
    """What the workbench needs: the stack's resources, and a token to sign with."""

    auth_mode: Literal["token", "open"] = "token"
    sdk_client_auth_token: Secrets = Field(())

    @property
    def tokens(self) -> tuple[str, ...] | None:
        """The valid tokens; None where none is needed."""
        if self.auth_mode == "open":
            return None
        return tuple(token.get_secret_value() for token in self.sdk_client_auth_token)


async def open_desk(
    aws: Aws, environ: Mapping[str, str], *, sends: bool = False, acts: bool = False
) -> Desk:
    """A desk by the environment. `sends`: it will send to the job queue, so a token must be there;
    `acts`: what it does is put down to somebody. Raises SettingsError.
    """
    ours = {name.upper() for name in DeskSettings.model_fields}
    given = References({name: text for name, text in environ.items() if name in ours})
    settings = DeskSettings.from_env(given.resolve())
    if sends and settings.tokens == ():
        problem = (
            "SDK_CLIENT_AUTH_TOKEN: is not set; a replay signs what it sends, so set the token "
            "that the workers know, or AUTH_MODE=open where they take messages without one"
        )
        raise SettingsError([problem])
    return Desk(
        DeskPorts(
            letters=SqsDeadLetters(aws, settings.dlq_url, settings.queue_url, settings.tokens),
            rows=DynamoRows(aws, settings.job_table, settings.session_table),
            documents=S3Documents(aws, settings.session_bucket),
            clock=SystemClock(),
            operator=await _operator(aws) if acts else Operator("", ""),
        )
    )


async def _operator(aws: Aws) -> Operator:
    """The user of this machine, and from where: the machine, the address of who is logged in to it,
    and the AWS identity.
    """
    places = [socket.gethostname()]
    if client := os.environ.get("SSH_CONNECTION", "").split(" ")[0]:
        places.append(f"from {client}")
    try:
        answer = await aws.call("sts", "get_caller_identity", attempts=1)
        places.append(f"as {answer['Arn']}")
    except WorkerError:
        places.append("AWS identity unknown")
    return Operator(user_name(), ", ".join(places))
