"""A subscriber over HTTP, as anybody would write one: it verifies a webhook, then reads it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from contracts import Event, InvalidSignature, parse_event, verify_webhook
from worker.local.demo.claims import ClaimError
from worker.local.processes import LOOPBACK

_PATIENCE_SECONDS = 90.0
_COMMAND_SECONDS = 60.0


class Receiver:
    """Serves on loopback while the `with` block runs. It answers 401 to what it cannot verify."""

    def __init__(self) -> None:
        self.secret = ""
        self._received: dict[str, tuple[Event, Mapping[str, str], bytes]] = {}
        self._arrival = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    receiver.take(dict(self.headers.items()), body)
                    self.send_response(204)
                except InvalidSignature:
                    self.send_response(401)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass  # the screen belongs to the tour

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        """A request. Raises InvalidSignature."""
        webhook_id = verify_webhook(headers, body, self.secret)
        with self._arrival:
            self._received[webhook_id] = parse_event(body), headers, body
            self._arrival.notify_all()

    def wait_for(self, job_id: str) -> Event:
        """The job's event, verified. Raises ClaimError when it does not come, or when the receiver
        would have taken another one for it.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with self._arrival:
            while (found := self._found(job_id)) is None:
                if not self._arrival.wait(deadline - time.monotonic()):
                    raise ClaimError(
                        f"no webhook of job {job_id} has come within {_PATIENCE_SECONDS:.0f} s"
                    )
        event, headers, body = found
        _is_refused_when_changed(headers, body, self.secret)
        return event

    def _found(self, job_id: str) -> tuple[Event, Mapping[str, str], bytes] | None:
        found = (taken for taken in self._received.values() if taken[0].subject == job_id)
        return next(found, None)


def webhooks_command(settings: Mapping[str, str], *arguments: str) -> str:
    """What `agent-worker webhooks ...` prints. Raises ClaimError when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", "webhooks", *arguments],
        env={**settings, "PATH": os.environ.get("PATH", os.defpath), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ClaimError(f"agent-worker webhooks {arguments[0]} has failed: {done.stderr}")
    return done.stdout


def subscribe(settings: Mapping[str, str], receiver: Receiver, chat: str) -> str:
    """Subscribe the receiver to a chat's events; returns the subscription's id."""
    arguments = ("add", receiver.url, "--chat", chat, "--json")
    added: dict[str, Any] = json.loads(webhooks_command(settings, *arguments))
    receiver.secret = added["secret"]
    return str(added["subscription_id"])


def log_of(settings: Mapping[str, str], subscription: str) -> str:
    """The log, once it has the delivery: it is written when the subscriber has answered."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        text = webhooks_command(settings, "log", subscription)
        if "delivered" in text:
            return text
    raise ClaimError(f"the log of {subscription} has no delivery that has arrived")


def _is_refused_when_changed(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    try:
        verify_webhook(headers, body + b" ", secret)
    except InvalidSignature:
        return
    raise ClaimError("a webhook with another body was taken for a genuine one")
