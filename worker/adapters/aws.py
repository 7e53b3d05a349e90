"""Calling AWS: threads, retries and errors, for every adapter, here only; boto3 itself is in
`clients`.

boto3 blocks, so calls run in threads. botocore's own retries are off: tenacity's policy below is
the one in force. Vendor errors leave as RefusedError (an answer that will not change) or
UnavailableError (worth another attempt).
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from worker.domain.errors import UnavailableError, WorkerError

if TYPE_CHECKING:
    from worker.adapters.clients import Clients

Keys = Callable[[], Mapping[str, str]]
"""Fetches keys that expire, in a thread: `access_key`, `secret_key`, `token` and `expiry_time` (ISO
8601). Raises WorkerError.
"""

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
    """One pool of threads, and clients that are made when they are needed, of one session.
    `AWS_ENDPOINT_URL` moves all of them, as boto3 defines it.
    """

    def __init__(
        self,
        *,
        threads: int = 32,
        region: str | None = None,
        read_timeout: float = 60,
        beside: "Aws | None" = None,
        keys: Keys | None = None,
    ) -> None:
        self._region = region
        self._threads = threads
        self._read_timeout = read_timeout
        self._beside = beside
        self._asides: list[Aws] = []
        self._made: Clients | None = None
        self._lock = threading.Lock()
        self._keys = keys
        self._pool: ThreadPoolExecutor = (
            beside._pool  # noqa: SLF001 - of the class itself
            if beside and keys
            else ThreadPoolExecutor(max_workers=threads, thread_name_prefix="aws")
        )

    def aside(self, *, threads: int, read_timeout: float = 60) -> "Aws":
        """Threads and clients of their own, for what must not hold back the others. Closed with
        this one.
        """
        aside = Aws(threads=threads, region=self._region, read_timeout=read_timeout, beside=self)
        self._asides.append(aside)
        return aside

    def acting(self, keys: Keys) -> "Aws":
        """The same threads, and clients that sign with these keys and no others. Closed with this
        one, if not before.
        """
        acting = Aws(
            threads=self._threads,
            region=self._region,
            read_timeout=self._read_timeout,
            beside=self,
            keys=keys,
        )
        self._asides.append(acting)
        return acting

    def of(self, tenant: str) -> "Aws":  # noqa: ARG002 - see tenantaccess
        """What this tenant's work is done with: without a role for tenants, this."""
        return self

    @property
    def clients(self) -> "Clients":
        """The first to ask waits for boto3's import."""
        if self._made is None:
            from worker.adapters.clients import Clients, Session  # noqa: PLC0415 - as it says

            with self._lock:
                if self._made is None:
                    beside = self._beside
                    session = beside.clients.session if beside else Session(self._region)
                    if self._keys is not None:
                        session = session.acting(self._keys)
                    self._made = Clients(
                        session, threads=self._threads, read_timeout=self._read_timeout
                    )
        return self._made

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        return self.clients.get(service)

    def prepare(self, *services: str) -> None:
        """Make these clients now, in this thread: no request has to wait for them."""
        for service in services:
            self.client(service)

    async def call(
        self, service: str, operation: str, *, attempts: int = 3, **kwargs: object
    ) -> Mapping[str, Any]:
        """`client(service).operation(**kwargs)`, retried with jitter while it is transient.

        Raises RefusedError or UnavailableError.
        """

        def request() -> Mapping[str, Any]:
            return self.clients.request(service, operation, kwargs)

        async for attempt in patiently(attempts):
            with attempt:
                return await asyncio.get_running_loop().run_in_executor(self._pool, request)
        msg = "tenacity ended without an outcome"
        raise AssertionError(msg)

    async def run(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - passes through what work returns
        """Blocking work (compression, files) in the same threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        for aside in tuple(self._asides):
            aside.close()
        if self._keys is None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        elif self._beside is not None:
            self._beside._asides.remove(self)  # noqa: SLF001 - of the class itself
        if self._made is not None:
            self._made.close()
