"""One webhook over HTTP, with httpx: to an address that was checked, and no further.

The host is resolved here, every address is checked, and the connection goes to one of them by
number, with the host's name in TLS (server name and certificate) and in the Host header: what a
second resolution would say is never asked. No redirects, no proxies, no cookies, no connection is
used twice, and of the answer no more is read than its beginning.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from worker.webhooks.addresses import Address, Target, check_url, is_allowed
from worker.webhooks.errors import InvalidSubscriptionError
from worker.webhooks.policy import Answer

MAX_ANSWER_BYTES = 64 * 1024
LINGER_SECONDS = 1.0
"""How long the body of a good answer is waited for: it changes nothing."""

MAX_ADDRESSES = 4
CONNECT_SHARE = 0.25
"""Of the attempt's time, for the connection to one address, and again for its TLS."""

Resolve = Callable[[str, int], Sequence[str]]


class NotSentError(Exception):
    """Nothing was sent. `code` as in Answer.error."""

    def __init__(self, code: str, problem: str) -> None:
        self.code = code
        super().__init__(problem)


class HttpSender:
    """The sender port on httpx.

    Args:
        timeout_seconds: for all of an attempt, from the name's resolution to the answer.
        allow_loopback: whether this machine may be sent to.
        tls: what certificates are trusted; the public authorities by default.
        resolve: addresses of a host, as text; raises OSError. The system's resolver by default.
    """

    def __init__(
        self,
        timeout_seconds: float,
        *,
        allow_loopback: bool = False,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._timeout = timeout_seconds
        self._allow_loopback = allow_loopback
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or httpx.create_ssl_context(trust_env=False),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._resolve = resolve or _addresses
        self._lookups: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="webhook-dns")

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                target = check_url(url, allow_loopback=self._allow_loopback)
                response = await self._post(url, target, headers, body.encode())
                try:
                    beginning = await self._beginning(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            error, problem = "timeout", f"no answer within {self._timeout:g} s"
        except InvalidSubscriptionError as exc:
            error, problem = "address_not_allowed", str(exc)
        except NotSentError as exc:
            error, problem = exc.code, str(exc)
        except (httpx.HTTPError, ssl.SSLError, OSError) as exc:
            error, problem = "protocol", f"the connection broke: {_reason(exc)}"
        else:
            return Answer(
                response.status_code,
                time.monotonic() - began,
                problem=_of_status(response),
                retry_after=response.headers.get("retry-after"),
                beginning=beginning,
            )
        return Answer(None, time.monotonic() - began, error, problem)

    async def check(self, url: str) -> None:
        """Raises NotSentError or InvalidSubscriptionError where `send` would not send."""
        target = check_url(url, allow_loopback=self._allow_loopback)
        try:
            async with asyncio.timeout(self._timeout):
                await self._allowed(target)
        except TimeoutError:
            raise NotSentError("dns", f"{target.host} cannot be looked up in time") from None

    async def close(self) -> None:
        await self._transport.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _post(
        self, url: str, target: Target, headers: Mapping[str, str], content: bytes
    ) -> httpx.Response:
        """To the first address that takes the connection."""
        failures = []
        for address in (await self._allowed(target))[:MAX_ADDRESSES]:
            request = httpx.Request(
                "POST",
                httpx.URL(url).copy_with(host=str(address)),
                headers={
                    **headers,
                    "host": _host_header(target),
                    "accept": "*/*",
                    "accept-encoding": "identity",
                    "connection": "close",
                },
                content=content,
                extensions={
                    "sni_hostname": target.host,
                    "timeout": httpx.Timeout(
                        self._timeout, connect=self._timeout * CONNECT_SHARE
                    ).as_dict(),
                },
            )
            try:
                return await self._transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
                failures.append(_connect_failure(exc, target, address))
            except httpx.TimeoutException:
                raise TimeoutError from None
        raise failures[-1]

    async def _allowed(self, target: Target) -> list[Address]:
        """The host's addresses. One that is not allowed is enough to refuse them all: a name that
        has both is an attack or a mistake.
        """
        found = [
            ipaddress.ip_address(text.partition("%")[0]) for text in await self._looked_up(target)
        ]
        for address in found:
            if not is_allowed(address, allow_loopback=self._allow_loopback):
                raise NotSentError(
                    "address_not_allowed",
                    f"{target.host} has the address {address}, which is not a public one",
                )
        return found

    async def _looked_up(self, target: Target) -> Sequence[str]:
        """One lookup of a host at a time: a resolver that hangs keeps one thread, not all."""
        key = (target.host, target.port)
        if key not in self._lookups:
            loop = asyncio.get_running_loop()
            lookup = asyncio.ensure_future(loop.run_in_executor(self._threads, self._resolve, *key))
            self._lookups[key] = lookup
            lookup.add_done_callback(lambda _: self._lookups.pop(key, None))
        try:
            found = await asyncio.shield(self._lookups[key])
        except (OSError, UnicodeError) as exc:
            raise NotSentError("dns", f"{target.host} has no address: {_reason(exc)}") from exc
        if not found:
            raise NotSentError("dns", f"{target.host} has no address")
        return found

    async def _beginning(self, response: httpx.Response) -> bytes:
        if not response.is_success:
            return await _first_bytes(response)
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await _first_bytes(response)
        except (TimeoutError, httpx.HTTPError):
            pass  # the status has said all that counts
        return b""


async def _first_bytes(response: httpx.Response) -> bytes:
    kept = b""
    try:
        async for piece in response.aiter_raw():
            kept += piece
            if len(kept) >= MAX_ANSWER_BYTES:
                break
    except httpx.TimeoutException:
        raise TimeoutError from None
    return kept[:MAX_ANSWER_BYTES]


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _host_header(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    default = 443 if target.scheme == "https" else 80
    return host if target.port == default else f"{host}:{target.port}"


def _connect_failure(exc: Exception, target: Target, address: Address) -> NotSentError:
    where = f"{target.host} ({address} port {target.port})"
    if isinstance(exc, httpx.ConnectTimeout):
        return NotSentError("unreachable", f"{where} does not take the connection in time")
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return NotSentError("tls", f"TLS with {where} failed: {_reason(cause)}")
        cause = cause.__cause__ or cause.__context__
    return NotSentError("unreachable", f"{where} cannot be reached: {_reason(exc)}")


def _of_status(response: httpx.Response) -> str | None:
    if response.is_success:
        return None
    if 300 <= response.status_code < 400:  # noqa: PLR2004 - HTTP 3xx
        return (
            f"answered {response.status_code}, a redirect, which is not followed; give the "
            "subscription the URL that it leads to"
        )
    return f"answered {response.status_code}"


def _reason(exc: BaseException) -> str:
    """A library's words, without the object that it may have added."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message
    if isinstance(exc, ssl.SSLError):
        return exc.reason or type(exc).__name__
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc)[:200] or type(exc).__name__
