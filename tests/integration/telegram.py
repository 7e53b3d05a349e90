"""A scripted Telegram: the Bot API on loopback, as far as a bot needs it."""

import itertools
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "4711:secret-of-the-bot"

_beginnings = itertools.count(100_000, 100_000)  # a bot never sees an update's id twice


@dataclass
class Message:
    """A message of the bot's, with the texts that it had before."""

    chat_id: int
    thread_id: int | None
    text: str
    reply_to: int
    silent: bool
    earlier: list[str] = field(default_factory=list)
    deleted: bool = False


class RefusedError(Exception):
    """What the API answers with `ok: false`."""

    def __init__(self, status, description, **parameters):
        self.status, self.description, self.parameters = status, description, parameters
        super().__init__(description)


class ScriptedTelegram:
    """Keeps updates until they are confirmed, and refuses what Telegram refuses."""

    def __init__(self):
        self.messages = {}
        self.calls = []
        self.confirmed = 0
        self.refusals = deque()
        self.deaf = False  # a confirmation is lost, as when the bot has died before it
        self.confirmation_lost = threading.Event()
        self._updates = []
        self._said, self._again = {}, []
        self._next_id = next(_beginnings)
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def say(self, chat_id, text, **fields):
        """Somebody writes in a chat; returns the update's id."""
        with self._changed:
            self._next_id += 1
            message = {"message_id": self._next_id, "chat": {"id": chat_id}, "text": text, **fields}
            self._said[self._next_id] = {"update_id": self._next_id, "message": message}
            self._updates.append(self._said[self._next_id])
            self._changed.notify_all()
            return self._next_id

    def repeat(self, update_id):
        """The update comes again, although it was confirmed."""
        with self._changed:
            self._again.append(self._said[update_id])
            self._changed.notify_all()

    def answers(self, chat_id):
        """Texts of the bot's messages in a chat; those that show progress are silent."""
        return [message.text for message in self.of(chat_id)]

    def of(self, chat_id, *, silent=False):
        with self._changed:
            return [
                message
                for message in self.messages.values()
                if message.chat_id == chat_id and message.silent is silent
            ]

    def called(self, method):
        with self._changed:
            return [parameters for name, parameters, _ in self.calls if name == method]

    def times(self, method):
        with self._changed:
            return [at for name, _, at in self.calls if name == method]

    def _call(self, method, parameters):
        with self._changed:
            self.calls.append((method, parameters, time.monotonic()))
            if self.refusals and self.refusals[0][0] == method:
                raise self.refusals.popleft()[1]
            return getattr(self, f"_{method}")(**parameters)

    def _getMe(self):  # noqa: N802 - Telegram's names
        return {"id": 4711, "is_bot": True}

    def _getUpdates(self, timeout, allowed_updates, offset=0):  # noqa: N802
        if offset > self.confirmed and self.deaf:
            self.confirmation_lost.set()
            self._changed.wait_for(lambda: False, 30)
        self.confirmed = max(self.confirmed, offset)
        self._updates = [update for update in self._updates if update["update_id"] >= offset]
        self._changed.wait_for(lambda: self._updates or self._again, min(timeout, 5))
        again, self._again = self._again, []
        return [*again, *self._updates][:100]

    def _sendMessage(  # noqa: N802
        self, chat_id, text, reply_parameters, disable_notification, message_thread_id=None
    ):
        self._check(text)
        self._next_id += 1
        self.messages[self._next_id] = Message(
            chat_id, message_thread_id, text, reply_parameters["message_id"], disable_notification
        )
        return {"message_id": self._next_id}

    def _editMessageText(self, chat_id, message_id, text):  # noqa: N802
        self._check(text)
        message = self.messages[message_id]
        assert message.chat_id == chat_id
        if message.text == text:
            raise RefusedError(400, "Bad Request: message is not modified")
        message.earlier.append(message.text)
        message.text = text
        return {"message_id": message_id}

    def _deleteMessage(self, chat_id, message_id):  # noqa: N802
        self.messages[message_id].deleted = True
        return True

    def _sendChatAction(self, chat_id, action, message_thread_id=None):  # noqa: N802
        return True

    def _check(self, text):
        if not text.strip():
            raise RefusedError(400, "Bad Request: message text is empty")
        if len(text.encode("utf-16-le")) // 2 > 4096:
            raise RefusedError(400, "Bad Request: message is too long")

    def _handler(self):
        telegram = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                _, bot, method = self.path.split("/")
                assert bot == f"bot{TOKEN}"
                try:
                    status, answer = 200, {"ok": True, "result": telegram._call(method, body)}
                except RefusedError as exc:
                    status = exc.status
                    answer = {"ok": False, "description": exc.description}
                    if exc.parameters:
                        answer["parameters"] = exc.parameters
                content = json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True  # the bot was killed

            def log_message(self, *_):
                pass

        return Handler
