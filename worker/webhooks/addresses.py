"""Where webhooks may go: a guard against server-side request forgery, in two pure steps.

`check_url` reads the URL when a subscription is made and before each attempt; `is_allowed` is asked
about every address that its host resolves to, and the connection goes to an address that was asked
about (Standard Webhooks 1.0, "Server side request forgery"; OWASP API7:2023).
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from worker.webhooks.errors import InvalidSubscriptionError

MAX_URL_CHARACTERS = 2048

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNFIT = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_PORTS = {"http": 80, "https": 443}

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv4 address inside an IPv6 one; networks without IPv4 reach the Internet so."""

# Beyond what `is_global` says, of which Python versions differ: relays, tunnels and translations,
# behind which an address of a private network may be.
_FORBIDDEN = [
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598); inside AWS, too
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "64:ff9b:1::/48",  # local NAT64 (RFC 8215)
        "2001::/23",  # IETF protocol assignments, Teredo among them (RFC 4380)
        "2002::/16",  # 6to4 (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
    )
]


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL that decide where a request goes."""

    scheme: str
    host: str
    port: int


def check_url(url: str, *, allow_loopback: bool) -> Target:
    """Where the URL leads. Raises InvalidSubscriptionError; the text shows no more than the host.

    Any port is allowed: what is reached is public in any case. http is for this machine alone, and
    only with `allow_loopback`.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise _invalid(f"has {len(url)} characters; the limit is {MAX_URL_CHARACTERS}")
    if not url.isascii() or _UNFIT.search(url):
        raise _invalid("has blanks, backslashes or characters beyond ASCII; percent-encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise _invalid(f"cannot be read ({exc})") from None
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise _invalid("names no host; it begins with https:// and a host name")
    if parts.username is not None or parts.password is not None:
        raise _invalid("holds a user name or password; the signature is what authenticates us")
    if parts.fragment:
        raise _invalid("has a fragment (#...), which is never sent; leave it out")
    if parts.scheme != "https" and not (
        parts.scheme == "http" and allow_loopback and _is_this_machine(host)
    ):
        raise _invalid(
            f"begins with {parts.scheme or 'no scheme'!r} and must begin with https:// (http leads "
            "to this machine only, and needs WEBHOOK_ALLOW_LOOPBACK=1)"
        )
    if port == 0:
        raise _invalid("has port 0; name the port that the subscriber listens on")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme])


def is_allowed(address: Address, *, allow_loopback: bool) -> bool:
    """Whether a webhook may be sent to this address: public unicast, nothing else."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_allowed(inner, allow_loopback=allow_loopback)
    if address.is_loopback:
        return allow_loopback
    special = (
        address.is_private
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or getattr(address, "is_site_local", False)
    )
    return (
        address.is_global
        and not special
        and not any(
            address in network for network in _FORBIDDEN if network.version == address.version
        )
    )


def shown(url: str) -> str:
    """The URL for people: what is in its query may be a token, and is not shown."""
    return url.split("?", 1)[0] + ("?..." if "?" in url else "")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _invalid(problem: str) -> InvalidSubscriptionError:
    return InvalidSubscriptionError(f"url: {problem}")
