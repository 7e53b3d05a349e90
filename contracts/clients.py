"""AWS clients for a bot's side. boto3 is imported when the first one is made."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3


class Clients:
    """One client for each service, made when it is asked for. Safe to share between threads.

    Args:
        session: where credentials and region come from; boto3's defaults if None.
        endpoint_url: another address for every service, such as an emulator's.
    """

    def __init__(
        self, session: "boto3.Session | None" = None, endpoint_url: str | None = None
    ) -> None:
        self._session = session
        self._endpoint_url = endpoint_url
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def get(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes clients at run time
        """The client of a service: "sqs", "sns", "dynamodb" or "s3"."""
        import boto3  # noqa: PLC0415 - see the module's docstring
        from botocore.config import Config  # noqa: PLC0415

        with self._lock:
            if service not in self._clients:
                session = self._session or boto3.Session()
                self._clients[service] = session.client(
                    service,
                    endpoint_url=self._endpoint_url,
                    config=Config(
                        retries={"mode": "standard", "total_max_attempts": 5},
                        # Path style, so that an emulator needs no wildcard DNS; S3 takes both.
                        s3={"addressing_style": "path"},
                    ),
                )
            return self._clients[service]


def session_from_env(environ: Mapping[str, str]) -> "boto3.Session":
    """A session by AWS_REGION and AWS credentials, each where it is set."""
    import boto3  # noqa: PLC0415 - see the module's docstring

    return boto3.Session(
        aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=environ.get("AWS_SESSION_TOKEN"),
        region_name=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
    )
