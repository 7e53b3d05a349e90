"""A bot for Telegram: the adapter between its Bot API and the job queue. docs/telegram.md explains.

Needs `contracts` and httpx, the environment of docs/bots.md, and
    TELEGRAM_TOKEN          as BotFather gave it
    TELEGRAM_ALLOWED_CHATS  ids of the chats that are answered, with commas; * for everybody
    TELEGRAM_STATE          a file for the jobs that are under way (default: telegram.db)
    TELEGRAM_API_URL        default: https://api.telegram.org
"""

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

import contracts
from contracts.aio import AsyncProducer

MAX_UNITS = 4096  # of a message's text, in UTF-16 code units (Telegram Bot API, sendMessage)
POLL_SECONDS = 50  # how long Telegram holds getUpdates open
SHOW_SECONDS = 4.0  # "typing" is shown for 5; and a group may have 20 messages a minute
RETRY_SECONDS = 5.0  # when AWS is out of reach
ANSWER_SECONDS = 24 * 3600.0
KEPT_SECONDS = 3 * 86400  # Telegram repeats an update for a day
HELP = "Write to me. /new starts over, /cancel stops what I am doing."

log = logging.getLogger("telegram_bot")


class TelegramError(Exception):
    """Telegram refuses a call for good, such as when the user has blocked the bot."""


class Telegram:
    """The Bot API. What fails for now is tried again, and as late as Telegram asks for."""

    def __init__(self, token: str, url: str) -> None:
        # The token is part of the address, which httpx logs at level INFO.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.http = httpx.AsyncClient(base_url=f"{url}/bot{token}", timeout=POLL_SECONDS + 10)

    async def call(self, method: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        given = {name: value for name, value in parameters.items() if value is not None}
        pause = 1.0
        while True:
            try:
                response = await self.http.post(f"/{method}", json=given)
                answer = response.json()
            except (httpx.TransportError, ValueError) as exc:  # ValueError: a proxy's HTML page
                log.warning("%s: %s; again in %g s", method, type(exc).__name__, pause)
            else:
                if answer.get("ok"):
                    return answer["result"]
                wait = answer.get("parameters", {}).get("retry_after")
                if wait is None and response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise TelegramError(f"{method}: {answer.get('description')}")
                log.warning("%s: status %d", method, response.status_code)
                pause = max(pause, wait or 0.0)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 60.0)


@dataclass
class Job:
    """A message to answer. `status_id` is the message that shows its progress; `sent` parts of the
    answer have arrived.
    """

    job_id: str
    chat_id: int
    thread_id: int | None
    message_id: int
    status_id: int | None = None
    sent: int = 0
    progress: str = ""


class Journal:
    """The jobs under way, in a file: a bot that starts again goes on with them."""

    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)  # each statement is committed
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS jobs (job_id TEXT PRIMARY KEY, chat_id INT, thread_id INT,"
            " message_id INT, status_id INT, sent INT, done INT DEFAULT 0, time REAL)"
        )
        self.db.execute("DELETE FROM jobs WHERE done AND time < ?", (time.time() - KEPT_SECONDS,))

    def add(self, job: Job) -> bool:
        """Unless it is known. False when it was answered before."""
        self.db.execute(
            "INSERT OR IGNORE INTO jobs (job_id, chat_id, thread_id, message_id, sent, time)"
            " VALUES (?, ?, ?, ?, 0, ?)",
            (job.job_id, job.chat_id, job.thread_id, job.message_id, time.time()),
        )
        [done] = self.db.execute("SELECT done FROM jobs WHERE job_id = ?", (job.job_id,)).fetchone()
        return not done

    def save(self, job: Job, *, done: bool = False) -> None:
        self.db.execute(
            "UPDATE jobs SET status_id = ?, sent = ?, done = ? WHERE job_id = ?",
            (job.status_id, job.sent, done, job.job_id),
        )

    def under_way(self) -> list[Job]:
        columns = "job_id, chat_id, thread_id, message_id, status_id, sent"
        return [Job(*row) for row in self.db.execute(f"SELECT {columns} FROM jobs WHERE NOT done")]  # noqa: S608


class TelegramBot:
    """Takes updates to the queue, and what comes of them back to the chats."""

    def __init__(
        self, telegram: Telegram, producer: AsyncProducer, journal: Journal, allowed: set[str]
    ) -> None:
        self.telegram, self.producer, self.journal = telegram, producer, journal
        self.allowed = allowed
        self.new_session: set[tuple[int, int | None]] = set()
        self.tasks: dict[asyncio.Task[None], Job] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        me = await self.telegram.call("getMe")
        for job in self.journal.under_way():
            self.begin(job)
        offset = None
        while True:
            updates = await self.telegram.call(
                "getUpdates", offset=offset, timeout=POLL_SECONDS, allowed_updates=["message"]
            )
            try:
                for update in updates:
                    # The id is the same when the update comes again, and so is the job's.
                    job_id = f"telegram:{me['id']}:{update['update_id']}"
                    with contextlib.suppress(TelegramError):  # of an answer to a command
                        await self.take(update["message"], job_id)
                    # The next call confirms it. Until then Telegram repeats it: nothing is lost.
                    offset = update["update_id"] + 1
            except Exception:
                log.exception("an update could not be taken; it is tried again")
                await asyncio.sleep(RETRY_SECONDS)

    async def take(self, message: Mapping[str, Any], job_id: str) -> None:
        """Bring one message to the queue. Awaited before the next, so that they stay in order."""
        # Outside of forums, a message_thread_id is only a chain of replies.
        thread_id = message.get("message_thread_id") if message.get("is_topic_message") else None
        job = Job(job_id, message["chat"]["id"], thread_id, message["message_id"])
        place, text = (job.chat_id, thread_id), message.get("text", "")
        if not self.allowed & {"*", str(job.chat_id)}:
            log.warning("chat %d is not in TELEGRAM_ALLOWED_CHATS", job.chat_id)
            return
        match text.partition(" ")[0].partition("@")[0]:  # "/new@my_bot" in groups
            case "/new":
                self.new_session.add(place)
                await self.say(job, "The next message starts a new conversation.")
            case "/cancel":
                for other in list(self.tasks.values()):
                    if (other.chat_id, other.thread_id) == place:
                        await self.producer.cancel(other.job_id, requested_by="the user")
            case "" | "/start" | "/help":
                await self.say(job, HELP)
            case _:
                await self.send(job, text, new=place in self.new_session)
                self.new_session.discard(place)

    async def send(self, job: Job, text: str, *, new: bool) -> None:
        is_open = self.journal.add(job)
        try:
            await self.producer.enqueue(
                user_message=text,
                chat_id=job.chat_id,
                thread_id=job.thread_id,
                job_id=job.job_id,
                session="new" if new else "continue",
                progress="text",
            )
        except contracts.InvalidRequest as exc:
            self.journal.save(job, done=True)
            await self.say(job, f"I cannot send this: {exc}")
            return
        if is_open and job.job_id not in {other.job_id for other in self.tasks.values()}:
            self.begin(job)

    def begin(self, job: Job) -> None:
        task = asyncio.create_task(self.follow(job))
        self.tasks[task] = job
        task.add_done_callback(self.tasks.pop)

    async def follow(self, job: Job) -> None:
        """Show how it goes, then the answer."""
        ended = asyncio.Event()
        showing = asyncio.create_task(self.show(job, ended))
        try:
            event = await self.until_ended(job)
            ended.set()
            await showing
            await self.answer(job, event)
        except contracts.FeedClosed:  # the bot ends; the next start goes on with the job
            return
        except (TelegramError, contracts.ResultTimeout) as exc:
            log.warning("job %s is given up: %s", job.job_id, exc)
        except Exception:
            log.exception("job %s is tried again", job.job_id)
            await asyncio.sleep(RETRY_SECONDS)
            self.begin(job)
            return
        finally:
            showing.cancel()
        self.journal.save(job, done=True)

    async def until_ended(self, job: Job) -> contracts.FinalEvent:
        steps: list[str] = []
        async for event in self.producer.stream(job.job_id, timeout=ANSWER_SECONDS):
            if isinstance(event, contracts.FinalEvent):
                return event
            if isinstance(event, contracts.JobProgressEvent):
                if event.data.kind == "tool":
                    steps.append(f"· {event.data.summary}")
                job.progress = "\n".join([*steps[-10:], event.data.text or ""]).strip()
        raise AssertionError("a stream ends with what ended the job")

    async def answer(self, job: Job, event: contracts.FinalEvent) -> None:
        text = told(event, await self.producer.response(event))
        for part in parts(text)[job.sent :]:
            await self.say(job, part)
            job.sent += 1
            self.journal.save(job)
        if job.status_id is not None:
            with contextlib.suppress(TelegramError):  # a person may have deleted it
                await self.telegram.call(
                    "deleteMessage", chat_id=job.chat_id, message_id=job.status_id
                )

    async def show(self, job: Job, ended: asyncio.Event) -> None:
        """Typing, and after some seconds what the agent does, in one message that changes."""
        shown = ""
        while not ended.is_set():
            await self.telegram.call(
                "sendChatAction",
                chat_id=job.chat_id,
                message_thread_id=job.thread_id,
                action="typing",
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), SHOW_SECONDS)
                return
            if job.progress == shown:
                continue
            text = shown = job.progress
            if job.status_id is None:
                job.status_id = await self.say(job, parts(text)[-1], silent=True)
                self.journal.save(job)
                continue
            with contextlib.suppress(TelegramError):  # such as "message is not modified"
                await self.telegram.call(
                    "editMessageText",
                    chat_id=job.chat_id,
                    message_id=job.status_id,
                    text=parts(text)[-1],
                )

    async def say(self, job: Job, text: str, *, silent: bool = False) -> int:
        """A message in reply to the job's; returns its id."""
        sent = await self.telegram.call(
            "sendMessage",
            chat_id=job.chat_id,
            message_thread_id=job.thread_id,
            text=text,
            reply_parameters={"message_id": job.message_id, "allow_sending_without_reply": True},
            disable_notification=silent,
        )
        return int(sent["message_id"])


def told(event: contracts.FinalEvent, response: str) -> str:
    """The answer as a person should read it."""
    match event:
        case contracts.JobRejectedEvent():
            return f"I cannot take this: {event.data.error_message}"
        case contracts.JobFailedEvent():
            return f"I could not answer: {event.data.error_message}"
        case contracts.JobCancelledEvent():
            return f"{response}\n\n(stopped)"
        case contracts.JobCompletedEvent():
            return (
                f"{response}\n\n({event.data.error_message})" if event.data.is_error else response
            )


def parts(text: str) -> list[str]:
    """The text in messages that Telegram takes, cut between paragraphs, lines or words."""
    found = []
    while text := text.strip():
        part = beginning(text)
        if len(part) < len(text):
            cuts = (part.rfind(separator) for separator in ("\n\n", "\n", " "))
            part = part[: next((cut for cut in cuts if cut > len(part) // 2), len(part))]
        found.append(part.rstrip())
        text = text[len(part) :]
    return found or ["(no text)"]


def beginning(text: str) -> str:
    """As many whole characters as fit: one above U+FFFF counts as two."""
    cut = text.encode("utf-16-le")[: 2 * MAX_UNITS]
    return cut.decode("utf-16-le", "ignore")


async def main(environ: Mapping[str, str] = os.environ) -> None:
    """Until SIGTERM or Ctrl-C. What is under way goes on, and is shown after the next start."""
    for name in ("TELEGRAM_TOKEN", "TELEGRAM_ALLOWED_CHATS"):
        if not environ.get(name):
            sys.exit(f"{name} is not set; docs/telegram.md tells what it is")
    url = environ.get("TELEGRAM_API_URL") or "https://api.telegram.org"
    telegram = Telegram(environ["TELEGRAM_TOKEN"], url)
    journal = Journal(environ.get("TELEGRAM_STATE") or "telegram.db")
    allowed = {chat.strip() for chat in environ["TELEGRAM_ALLOWED_CHATS"].split(",")}
    async with telegram.http, AsyncProducer.from_env(environ) as producer:
        await TelegramBot(telegram, producer, journal, allowed).run()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # as Ctrl-C
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
