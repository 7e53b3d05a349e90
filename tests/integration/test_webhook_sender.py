"""One webhook over real HTTP and TLS on loopback: good subscribers, and every kind of bad one."""

import asyncio
import socket
import threading

import pytest

from tests.integration.webhook_servers import (
    Authority,
    answering,
    dripping,
    dripping_headers,
    endless,
    hanging,
    saying,
    subscriber,
)
from worker.adapters.webhook_sender import MAX_ANSWER_BYTES, HttpSender, NotSentError

pytestmark = pytest.mark.integration

BODY = '{"id": "j-1", "text": "ünï"}'
HEADERS = {"webhook-id": "j-1", "content-type": "application/cloudevents+json"}


@pytest.fixture
async def sender():
    sender = HttpSender(5.0, allow_loopback=True)
    yield sender
    await sender.close()


@pytest.fixture
async def impatient():
    sender = HttpSender(0.5, allow_loopback=True)
    yield sender
    await sender.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


async def test_a_subscriber_gets_the_body_byte_for_byte_and_the_headers(sender):
    async with subscriber(answering(204)) as (port, requests):
        answer = await sender.send(f"http://127.0.0.1:{port}/a?b=c%2Fd", HEADERS, BODY)
    assert (answer.status, answer.error, answer.is_success) == (204, None, True)
    [request] = requests
    assert (request.method, request.path) == ("POST", "/a?b=c%2Fd")
    assert request.body == BODY.encode()
    assert request.headers["host"] == f"127.0.0.1:{port}"
    assert request.headers["webhook-id"] == "j-1"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["connection"] == "close"


async def test_no_proxy_of_the_environment_is_used_and_no_cookie_is_kept(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    sender = HttpSender(5.0, allow_loopback=True)
    async with subscriber(answering(200, set_cookie="a=b; Path=/")) as (port, requests):
        for _ in range(2):
            assert (await sender.send(f"http://127.0.0.1:{port}/", HEADERS, BODY)).is_success
    await sender.close()
    assert all("cookie" not in request.headers for request in requests)


async def test_a_failing_subscriber_s_words_are_kept(sender):
    async with subscriber(answering(503, b"try later", retry_after="120")) as (port, _):
        answer = await sender.send(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    assert (answer.status, answer.retry_after, answer.beginning) == (503, "120", b"try later")


async def test_a_redirect_is_a_failure_and_is_not_followed(sender):
    async with subscriber(answering(200)) as (elsewhere, reached):
        moved = answering(307, location=f"http://127.0.0.1:{elsewhere}/")
        async with subscriber(moved) as (port, _):
            answer = await sender.send(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    assert answer.status == 307
    assert not answer.is_success
    assert "redirect" in answer.problem
    assert reached == []


async def test_nobody_listening_is_unreachable(sender):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        answer = await sender.send(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "unreachable")
    assert f"127.0.0.1 port {port}" in answer.problem


@pytest.mark.parametrize("behave", [hanging, dripping_headers, dripping(500)])
async def test_a_subscriber_that_does_not_come_to_an_end_is_given_up_in_time(impatient, behave):
    async with subscriber(behave) as (port, requests), asyncio.timeout(30):
        answer = await impatient.send(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "timeout")
    assert len(requests) == 1


async def test_a_server_that_never_speaks_tls_is_given_up_in_time(impatient):
    """It accepts the connection, and no more: its backlog does."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        async with asyncio.timeout(30):
            answer = await impatient.send(f"https://127.0.0.1:{port}/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "unreachable")
    assert "in time" in answer.problem


@pytest.mark.parametrize("behave", [endless(200), dripping(200)])
async def test_a_good_answer_counts_however_long_its_body_goes_on(sender, behave):
    async with subscriber(behave) as (port, _), asyncio.timeout(30):
        answer = await sender.send(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    assert (answer.status, answer.error, answer.beginning) == (200, None, b"")


async def test_of_an_endless_answer_only_the_beginning_is_read(sender):
    async with subscriber(endless(500)) as (port, _), asyncio.timeout(30):
        answer = await sender.send(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    assert answer.status == 500
    assert len(answer.beginning) == MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 2",
        b"220 mail.example.com ESMTP\r\n",
        b"\x00\xff" * 50,
        b"HTTP/1.1 500 X\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 X\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_answer_is_a_failure_and_no_stray_exception(sender, raw):
    async with subscriber(saying(raw)) as (port, _):
        answer = await sender.send(f"http://127.0.0.1:{port}/", HEADERS, BODY)
    assert (answer.status, answer.error) == (None, "protocol")
    assert answer.problem


async def test_tls_names_the_host_and_goes_to_the_address_that_was_checked(authority):
    asked = []

    def resolve(host, port):
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]  # a rebinding name

    sender = HttpSender(5.0, allow_loopback=True, tls=authority.trusted(), resolve=resolve)
    names = []
    context = authority.server("hooks.example.com")
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with subscriber(answering(200), tls=context) as (port, requests):
        answer = await sender.send(f"https://hooks.example.com:{port}/x", HEADERS, BODY)
        again = await sender.send(f"https://hooks.example.com:{port}/x", HEADERS, BODY)
    await sender.close()
    assert answer.status == 200, answer.problem
    assert asked[0] == ("hooks.example.com", port)
    assert names == ["hooks.example.com"]
    assert requests[0].headers["host"] == f"hooks.example.com:{port}"
    assert (again.error, len(requests)) == ("address_not_allowed", 1)
    assert "10.0.0.1" in again.problem


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ({"names": ("hooks.example.com",), "self_signed": True}, "self-signed"),
        ({"names": ("other.example.com",)}, "Hostname mismatch"),
        ({"names": ("127.0.0.1",)}, "Hostname mismatch"),
        ({"names": ("hooks.example.com",), "expired": True}, "expired"),
    ],
)
async def test_a_certificate_that_is_not_the_host_s_is_refused(authority, certificate, reason):
    sender = HttpSender(
        5.0, allow_loopback=True, tls=authority.trusted(), resolve=lambda *_: ["127.0.0.1"]
    )
    context = authority.server(*certificate.pop("names"), **certificate)
    async with subscriber(answering(200), tls=context) as (port, requests):
        answer = await sender.send(f"https://hooks.example.com:{port}/", HEADERS, BODY)
    await sender.close()
    assert (answer.status, answer.error) == (None, "tls")
    assert reason in answer.problem.replace("self signed", "self-signed")
    assert requests == []


async def test_an_authority_that_is_not_trusted_is_refused(authority):
    sender = HttpSender(5.0, allow_loopback=True, resolve=lambda *_: ["127.0.0.1"])
    context = authority.server("hooks.example.com")
    async with subscriber(answering(200), tls=context) as (port, _):
        answer = await sender.send(f"https://hooks.example.com:{port}/", HEADERS, BODY)
    await sender.close()
    assert answer.error == "tls"


async def test_https_to_a_server_without_tls_is_refused(sender):
    async def greet(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await sender.send(f"https://127.0.0.1:{port}/", HEADERS, BODY)
    server.close()
    assert answer.error == "tls"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::1]/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
    ],
)
async def test_however_a_private_address_is_written_nothing_is_sent_there(url):
    sender = HttpSender(5.0)
    answer = await sender.send(url, HEADERS, BODY)
    with pytest.raises(NotSentError):
        await sender.check(url)
    await sender.close()
    assert (answer.status, answer.error) == (None, "address_not_allowed")


async def test_one_private_address_among_public_ones_is_enough_to_refuse():
    sender = HttpSender(5.0, resolve=lambda *_: ["93.184.216.34", "192.168.0.1"])
    answer = await sender.send("https://mixed.example.com/", HEADERS, BODY)
    await sender.close()
    assert answer.error == "address_not_allowed"
    assert "192.168.0.1" in answer.problem


async def test_http_to_another_host_is_refused_even_if_it_was_stored(sender):
    answer = await sender.send("http://example.com/", HEADERS, BODY)
    assert answer.error == "address_not_allowed"


async def test_a_name_without_an_address_is_said_to_have_none():
    def nothing(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    sender = HttpSender(5.0, resolve=nothing)
    answer = await sender.send("https://gone.example.com/", HEADERS, BODY)
    await sender.close()
    assert (answer.error, answer.problem) == (
        "dns",
        "gone.example.com has no address: Name or service not known",
    )


async def test_the_next_address_is_tried_when_one_takes_no_connection():
    sender = HttpSender(5.0, allow_loopback=True, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    async with subscriber(answering(200)) as (port, _):
        answer = await sender.send(f"http://localhost:{port}/", HEADERS, BODY)
    await sender.close()
    assert answer.status == 200


async def test_a_name_that_hangs_keeps_one_thread_and_delays_nobody(authority):
    release = threading.Event()
    asked = []

    def resolve(host, port):
        asked.append(host)
        if host == "slow.example.com":
            release.wait(60)
        return ["127.0.0.1"]

    sender = HttpSender(2.0, allow_loopback=True, tls=authority.trusted(), resolve=resolve)
    async with subscriber(answering(200), tls=authority.server("fast.example.com")) as (port, _):
        hung = [
            asyncio.create_task(sender.send("https://slow.example.com/", HEADERS, BODY))
            for _ in range(100)
        ]
        answer = await sender.send(f"https://fast.example.com:{port}/", HEADERS, BODY)
        assert answer.status == 200
        assert not any(task.done() for task in hung)
        answers = await asyncio.gather(*hung)
    release.set()
    await sender.close()
    assert {answer.error for answer in answers} == {"timeout"}
    assert asked.count("slow.example.com") == 1
