"""Where webhooks may go, and where never."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.webhooks.addresses import Target, check_url, is_allowed, shown
from worker.webhooks.errors import InvalidSubscriptionError

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",  # CGNAT; 100.100.100.200 is a cloud's metadata service
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",  # metadata of EC2 and most clouds
    "169.254.170.2",  # credentials of ECS
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",  # NAT64 of 169.254.169.254
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",  # Teredo
    "2001:db8::1",
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:a9fe:a9fe::",
    "fc00::1",
    "fd00:ec2::254",  # metadata of EC2
    "fe80::1",
    "fe80::a9fe:a9fe",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address):
    assert not is_allowed(ipaddress.ip_address(address), allow_loopback=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address):
    assert is_allowed(ipaddress.ip_address(address), allow_loopback=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_the_local_setting_allows_this_machine_and_no_other_private_address(address):
    allowed = is_allowed(ipaddress.ip_address(address), allow_loopback=True)
    loopback = {"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"}
    assert allowed == (address in loopback)


@given(st.ip_addresses())
def test_whatever_python_calls_private_is_refused(address):
    if address.is_private or address.is_multicast or address.is_link_local:
        assert not is_allowed(address, allow_loopback=False)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself(address):
    for text in (f"::ffff:{address}", f"64:ff9b::{address}"):
        inside = ipaddress.ip_address(text)
        assert is_allowed(inside, allow_loopback=False) == is_allowed(address, allow_loopback=False)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443)),
        ("https://EXAMPLE.com./a?b=c", Target("https", "example.com", 443)),
        ("https://example.com:8443/x", Target("https", "example.com", 8443)),
        ("https://[2606:4700::1111]:444/", Target("https", "2606:4700::1111", 444)),
    ],
)
def test_a_url_is_read(url, target):
    assert check_url(url, allow_loopback=False) == target


@pytest.mark.parametrize(
    ("url", "mentions"),
    [
        ("", "no host"),
        ("example.com", "no host"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("http://example.com", "must begin with https"),
        ("http://127.0.0.1:8080", "must begin with https"),
        ("ftp://example.com", "must begin with https"),
        ("//example.com", "must begin with https"),
        ("https://user@example.com", "user name"),
        ("https://user:secret@example.com", "user name"),
        ("https://:@example.com", "user name"),
        ("https://example.com#part", "fragment"),
        ("https://example.com:99999", "cannot be read"),
        ("https://example.com:0", "port 0"),
        ("https://example.com:x", "cannot be read"),
        ("https://[::1", "cannot be read"),
        ("https://exa mple.com", "blanks"),
        ("https://example.com\\@10.0.0.1", "backslashes"),
        ("https://example.com/\r\nHost: x", "blanks"),
        ("https://exämple.com", "ASCII"),
        ("https://example.com/" + "a" * 2048, "limit is 2048"),
    ],
)
def test_a_url_that_cannot_be_sent_to_is_refused_with_what_to_do(url, mentions):
    with pytest.raises(InvalidSubscriptionError, match=mentions) as caught:
        check_url(url, allow_loopback=False)
    assert "secret" not in str(caught.value)


def test_http_leads_to_this_machine_only_and_only_where_it_is_allowed():
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert check_url(f"http://{host}:8080/", allow_loopback=True).port == 8080
    for host in ("example.com", "10.0.0.1", "127.0.0.1.example.com", "localhost.example.com"):
        with pytest.raises(InvalidSubscriptionError, match="https"):
            check_url(f"http://{host}/", allow_loopback=True)


@given(st.text())
def test_whatever_the_url_is_there_is_no_stray_exception(url):
    for text in (url, f"https://{url}", f"https://example.com{url}"):
        with contextlib.suppress(InvalidSubscriptionError):
            assert check_url(text, allow_loopback=True).host


def test_a_query_is_not_shown():
    assert shown("https://example.com/a?token=s3cret") == "https://example.com/a?..."
    assert shown("https://example.com/a") == "https://example.com/a"
