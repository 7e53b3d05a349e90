"""Subscribers on loopback: good ones, and each kind of bad one, free to misbehave."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Request:
    """What a subscriber was sent."""

    def __init__(self, head, body):
        line, *fields = head.decode().split("\r\n")
        self.method, self.path, _ = line.split(" ")
        self.headers = {
            name.lower(): value for name, value in (field.split(": ", 1) for field in fields)
        }
        self.body = body


@contextlib.asynccontextmanager
async def subscriber(behave, tls=None, host="127.0.0.1"):
    """Serve while the block runs; yields the port and the list of requests. `behave(writer)`
    answers a request; it may hang, since it is cancelled at the end.
    """
    requests, tasks = [], set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            request = Request(head.removesuffix(b"\r\n\r\n"), b"")
            request.body = await reader.readexactly(int(request.headers["content-length"]))
            requests.append(request)
            await behave(writer)
        with contextlib.suppress(Exception):
            writer.close()
            await writer.wait_closed()
        writer.transport.abort()

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], requests
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(status=200, body=b"", **headers):
    """Answers with this."""

    async def behave(writer):
        head = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
        head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()

    return behave


def saying(raw):
    """Answers with these bytes and closes."""

    async def behave(writer):
        writer.write(raw)
        await writer.drain()

    return behave


async def hanging(writer):
    """Takes the request and never answers."""
    await asyncio.Event().wait()


def endless(status):
    """A good beginning, and a body without end."""

    async def behave(writer):
        writer.write(f"HTTP/1.1 {status} X\r\n\r\n".encode())
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    return behave


def dripping(status):
    """A byte of the body now and then, for ever."""

    async def behave(writer):
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 1000000\r\n\r\n".encode())
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    return behave


async def dripping_headers(writer):
    """A header line now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: x\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._certificate = self._issue(self._name, self._key, [], authority=True)

    def trusted(self):
        """A client's context that trusts it, and nobody else."""
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def server(self, *names, expired=False, self_signed=False):
        """A server's context with a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        signer = key if self_signed else self._key
        issuer = subject if self_signed else self._name
        certificate = self._issue(
            subject, key, names, expired=expired, signer=signer, issuer=issuer
        )
        path = self._folder / f"{certificate.serial_number}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _issue(
        self, subject, key, names, *, authority=False, expired=False, signer=None, issuer=None
    ):
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * day)
            .not_valid_after(now - day if expired else now + day)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
        return builder.sign(signer or self._key, hashes.SHA256())


def _general(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
