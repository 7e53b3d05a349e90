"""Running the scripted model: in this process for tests, or as a process of its own."""

import asyncio
import json
import socket
import threading
from types import TracebackType
from typing import Any, Self

import uvicorn

from worker.local.model.recorder import Recorder
from worker.local.model.service import application

LOOPBACK = "127.0.0.1"
_GRACE_SECONDS = 1  # for answers in flight; a hanging one never ends by itself


class ScriptedModel:
    """The model's server in a thread of its own, from `start` to `stop` or as a context manager.

    `url` is what goes into ANTHROPIC_BASE_URL or ANTHROPIC_BEDROCK_BASE_URL.
    """

    def __init__(self, port: int = 0) -> None:
        """Port 0 means a free one. Raises OSError when the port is in use."""
        self.recorder = Recorder()
        self._socket = listen(port)
        self.url = f"http://{LOOPBACK}:{self._socket.getsockname()[1]}"
        self._server = server(self.recorder)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="scripted-model", daemon=True
        )

    @property
    def requests(self) -> list[dict[str, object]]:
        """The requests so far, oldest first; see Recorder."""
        return self.recorder.latest()

    def asked(self, text: str) -> list[dict[str, Any]]:
        """The bodies whose messages hold this text, oldest first. Text as JSON writes it."""
        bodies = [request["body"] for request in self.requests]
        return [
            body
            for body in bodies
            if isinstance(body, dict) and text in json.dumps(body.get("messages"))
        ]

    def start(self) -> Self:
        self._thread.start()  # the socket listens already: whoever connects now is served soon
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)


def listen(port: int) -> socket.socket:
    """A listening socket on loopback. Raises OSError when the port is in use."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def server(recorder: Recorder) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application(recorder),
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
