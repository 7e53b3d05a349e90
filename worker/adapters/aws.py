"""Calling AWS: clients, threads, retries and errors, for every adapter, here only.

boto3 blocks, so calls run in threads. botocore's own retries are off: tenacity's policy below is
the one in force. Vendor errors leave as RefusedError (an answer that will not change) or
UnavailableError (worth another attempt).
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from worker.domain.errors import UnavailableError, WorkerError

TRANSIENT_CODES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "OverLimit",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "KMS.ThrottlingException",
        "ConditionalRequestConflict",  # S3 409 on If-None-Match: "retry the upload"
    }
)

PRESIGNING = Config(signature_version="s3v4")
"""botocore still presigns with version 2 in the oldest regions, us-east-1 among them; S3 refuses
that for objects under a KMS key."""


def patiently(attempts: int = 3) -> AsyncRetrying:
    """The retry policy of every AWS call: full jitter, up to 2 s, while it is unavailable."""
    return AsyncRetrying(
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        retry=retry_if_exception_type(UnavailableError),
        reraise=True,
    )


class RefusedError(WorkerError):
    """AWS answered no.

    Attributes:
        code: the service's error code; reasons: a transaction's reason codes, item by item.
    """

    def __init__(self, operation: str, code: str, message: str, reasons: tuple[str, ...]) -> None:
        self.code = code
        self.reasons = reasons
        super().__init__(f"{operation}: {code}: {message}")


class Aws:
    """Lazily made clients (importing and loading a service model is a good part of a cold start)
    and one pool of threads. `AWS_ENDPOINT_URL` moves all of them, as boto3 defines it.
    """

    def __init__(
        self, *, threads: int = 32, region: str | None = None, read_timeout: float = 60
    ) -> None:
        self._region = region
        self._asides: list[Aws] = []
        self._session = boto3.Session(region_name=region)
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="aws")
        self._config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=5,
            read_timeout=read_timeout,
            max_pool_connections=threads,
            tcp_keepalive=True,
            # Path style, so that the emulator needs no wildcard DNS; S3 accepts both.
            s3={"addressing_style": "path"},
        )

    def aside(self, *, threads: int, read_timeout: float) -> "Aws":
        """Threads and clients of their own, for what must not hold back the others. Closed with
        this one.
        """
        aside = Aws(threads=threads, region=self._region, read_timeout=read_timeout)
        self._asides.append(aside)
        return aside

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        with self._lock:
            if service not in self._clients:
                config = self._config.merge(PRESIGNING) if service == "s3" else self._config
                self._clients[service] = self._session.client(service, config=config)
            return self._clients[service]

    async def call(
        self, service: str, operation: str, *, attempts: int = 3, **kwargs: object
    ) -> Mapping[str, Any]:
        """`client(service).operation(**kwargs)`, retried with jitter while it is transient.

        Raises RefusedError or UnavailableError.
        """

        def request() -> Mapping[str, Any]:
            call: Callable[..., Mapping[str, Any]] = getattr(self.client(service), operation)
            try:
                return call(**kwargs)
            except ClientError as exc:
                raise _translated(service, operation, exc) from exc
            except BotoCoreError as exc:
                raise UnavailableError(service, f"{operation}: {exc}") from exc

        async for attempt in patiently(attempts):
            with attempt:
                return await asyncio.get_running_loop().run_in_executor(self._pool, request)
        msg = "tenacity ended without an outcome"
        raise AssertionError(msg)

    async def run(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - passes through what work returns
        """Blocking work (compression, files) in the same threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        for aside in self._asides:
            aside.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
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
