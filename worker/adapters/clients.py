"""boto3: its clients, and its errors as ours.

Imported by the thread that makes the first request, and by nobody else: it is a good part of a cold
start, and the agent's process can start meanwhile. So adapters import `aws`, never this.
"""

import io
import threading
from collections.abc import Mapping
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from worker.adapters.aws import TRANSIENT_CODES, Keys, RefusedError
from worker.domain.errors import UnavailableError, WorkerError

PRESIGNING = Config(signature_version="s3v4")
"""botocore still presigns with version 2 in the oldest regions, us-east-1 among them; S3 refuses
that for objects under a KMS key."""


class Session:
    """A boto3 session that threads share. It reads each service's description once, whatever the
    number of clients that are made of it.
    """

    def __init__(self, region: str | None) -> None:
        self._lock = threading.Lock()
        self._core = botocore.session.get_session()
        self._boto = boto3.Session(region_name=region, botocore_session=self._core)

    def client(self, service: str, config: Config) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        with self._lock:
            return self._boto.client(service, config=config)

    def acting(self, keys: Keys) -> "Session":
        """Another one, whose clients sign with these keys and no others. botocore fetches them for
        the first request, and anew from 15 minutes before they expire.
        """
        acting = Session(self._boto.region_name)
        acting._core.register_component("data_loader", self._core.get_component("data_loader"))
        credentials = DeferredRefreshableCredentials(keys, "assume-role")
        acting._core._credentials = credentials  # noqa: SLF001 - botocore takes fixed keys only
        return acting


class Clients:
    """A client for each service, made when it is asked for."""

    def __init__(self, session: Session, *, threads: int, read_timeout: float) -> None:
        self.session = session
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=5,
            read_timeout=read_timeout,
            max_pool_connections=threads,
            tcp_keepalive=True,
            # Of the CPU that a request takes here: checks of what the service checks anyway, and a
            # description of this machine that is written anew, twice, for each request.
            parameter_validation=False,
            user_agent=f"agent-worker Boto3/{boto3.__version__}",
            # Path style, so that the emulator needs no wildcard DNS; S3 accepts both.
            s3={"addressing_style": "path"},
        )

    def get(self, service: str) -> Any:  # noqa: ANN401 - as above
        if service not in self._made:  # requests do not wait while another client is made
            with self._lock:
                if service not in self._made:
                    config = self._config.merge(PRESIGNING) if service == "s3" else self._config
                    self._made[service] = self.session.client(service, config)
        return self._made[service]

    def request(
        self, service: str, operation: str, arguments: Mapping[str, object]
    ) -> Mapping[str, Any]:
        """Raises RefusedError or UnavailableError."""
        call = getattr(self.get(service), operation)
        for body in arguments.values():
            if isinstance(body, io.IOBase):
                body.seek(0)  # it has just been written, or an earlier attempt has read it
        try:
            answer: Mapping[str, Any] = call(**arguments)
        except ClientError as exc:
            raise _translated(service, operation, exc) from exc
        except BotoCoreError as exc:
            raise UnavailableError(service, f"{operation}: {exc}") from exc
        return answer

    def close(self) -> None:
        for client in self._made.values():
            client.close()


def _translated(service: str, operation: str, exc: ClientError) -> WorkerError:
    error = exc.response.get("Error", {})
    code = error.get("Code", "Unknown")
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    reasons = tuple(
        reason.get("Code", "None") for reason in exc.response.get("CancellationReasons", [])
    )
    busy = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
    if code in TRANSIENT_CODES or status >= 500 or busy.intersection(reasons):  # noqa: PLR2004 - HTTP 5xx
        return UnavailableError(service, f"{operation}: {code}: {error.get('Message', '')}")
    return RefusedError(f"{service} {operation}", code, error.get("Message", ""), reasons)
