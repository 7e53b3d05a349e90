"""The tour: each scene shows one thing that the system promises, and checks it."""

import json
import time
import uuid
from collections import Counter

from contracts import JobCompleted, StreamEvent, message_group_id, parse_event
from worker.local.demo import claims
from worker.local.demo.dead_letters import dead_letter
from worker.local.demo.machine import Machine
from worker.local.demo.screen import Screen
from worker.local.demo.subscriber import Subscriber
from worker.local.demo.timeline import Run
from worker.local.demo.webhook import Receiver, log_of, subscribe

_ANSWER_SECONDS = 90.0


class Tour:
    """The scenes, in order; `run` tells the story. Raises ClaimError where a promise is broken."""

    def __init__(self, machine: Machine, screen: Screen, subscriber: Subscriber) -> None:
        self._machine = machine
        self._screen = screen
        self._subscriber = subscriber
        self._messages: Counter[str] = Counter()
        self._sent_at: dict[str, float] = {}

    def run(self) -> None:
        session = self._conversation()
        self._thread()
        self._tool()
        self._progress()
        self._parallel()
        self._restart(session)
        self._malformed()
        self._webhook()
        self._summary()

    def _conversation(self) -> str:
        self._screen.scene(
            "A conversation",
            "A bot puts each message on a queue, the worker runs one turn of the agent for it. "
            "At the right: what a subscriber of the result topic receives, live.",
        )
        first = self._ask("ada", "my name is Ada")
        self._ask("ada", "remember the launch day is Friday")
        name = self._ask("ada", "what is my name?")
        day = self._ask("ada", "what is the launch day?")
        claims.remembers(name, "Ada")
        claims.remembers(day, "Friday")
        claims.is_continued(day, first.session_id)
        self._screen.holds("four turns, one session: what was said first is still known")
        return first.session_id

    def _thread(self) -> None:
        self._screen.scene("A second thread", "Same chat, other thread: a memory of its own.")
        self._ask("ada", "remember the destination is Oslo", "trip")
        name = self._ask("ada", "what is my name?", "trip")
        outside = self._ask("ada", "what is the destination?")
        inside = self._ask("ada", "what is the destination?", "trip")
        claims.does_not_know(name, "Ada")
        claims.does_not_know(outside, "Oslo")
        claims.remembers(inside, "Oslo")
        self._screen.holds("neither thread knows what was said in the other")

    def _tool(self) -> None:
        self._screen.scene(
            "A tool", "The agent writes a file with its Write tool and reads it back with Bash."
        )
        text = "milk, bread, candles"
        answer = self._ask("ada", f"steps: write shopping.txt: {text}; run cat shopping.txt")
        claims.remembers(answer, f"Bash returned: {text}")
        self._screen.holds("the file was on disk: `cat` has read it")

    def _progress(self) -> None:
        self._screen.scene(
            "Live progress",
            "The request asks for it, and the bot streams the job's events: what the agent does, "
            "and what it has written so far.",
        )
        text = "steps: run sleep 1; run echo done [[slow 0.1]] [[long 150]]"
        heard: list[StreamEvent] = []
        with self._machine.producer as bot:
            job_id = self._send("ada", text, progress="text")
            for event in bot.stream(job_id, timeout=_ANSWER_SECONDS):
                heard.append(event)
                self._screen.step(event, time.monotonic() - self._sent_at[job_id])
        self._receive(job_id)
        claims.was_followed(heard, ["Bash: sleep 1", "Bash: echo done"])
        self._screen.holds("each step was shown while the agent worked, and the result came last")

    def _parallel(self) -> None:
        self._screen.scene(
            "Two chats in parallel",
            "Three messages each, sent at once; the model takes half a second for each.",
        )
        texts = ("one", "two", "three")
        jobs = [
            (chat, self._send(chat, f"{text} [[delay 0.5]]"))
            for text in texts
            for chat in ("bob", "eve")
        ]
        answers = [(chat, self._receive(job_id, shown=False)) for chat, job_id in jobs]
        records = {record.job_id: record for record in self._machine.jobs()}
        runs = [
            Run(
                chat,
                answer.job_id,
                records[answer.job_id].created_at,
                records[answer.job_id].published_at or 0.0,
                answer.response,
            )
            for chat, answer in answers
        ]
        self._screen.timeline(sorted(runs, key=lambda run: run.start))
        claims.keeps_order(runs)
        claims.runs_in_parallel(runs)
        self._screen.holds("each chat kept its order, neither waited for the other")

    def _restart(self, session: str) -> None:
        self._screen.scene(
            "A crash", "The worker is killed, its disk is wiped, another worker takes over."
        )
        pid = self._machine.worker.pid
        self._machine.kill_worker()
        self._screen.act(f"kill -9 {pid}", "no goodbye, as in a power cut")
        files = self._machine.wipe_disk()
        self._screen.act("rm -rf disk/", f"{files} files: all that it had on disk")
        self._machine.start_worker()
        self._screen.act("agent-worker run", f"pid {self._machine.worker.pid}, on an empty disk")
        name = self._ask("ada", "what is my name?")
        destination = self._ask("ada", "what is the destination?", "trip")
        claims.remembers(name, "Ada")
        claims.is_continued(name, session)
        claims.remembers(destination, "Oslo")
        self._screen.holds("both memories are intact: they live in DynamoDB and S3")

    def _malformed(self) -> None:
        self._screen.scene(
            "A malformed message", "A field name has a typo. A good message waits behind it."
        )
        body = json.dumps({"user_mesage": "hello", "chat_id": "ada"})
        self._screen.question("ada", body)
        message = self._machine.client("sqs").send_message(
            QueueUrl=self._machine.queue,
            MessageBody=body,
            MessageGroupId=message_group_id("ada"),
            MessageDeduplicationId=uuid.uuid4().hex,
        )
        behind = self._send("ada", "are you still there?")
        letter = dead_letter(
            self._machine.client("sqs"), self._machine.dead_letter_queue, message["MessageId"]
        )
        self._subscriber.wait_for(letter["job_id"])
        claims.has_reason(letter, body, "invalid_request", "user_mesage")
        self._screen.dead_letter(letter)
        self._screen.holds("it is in the dead-letter queue, with its reason")
        self._receive(behind)
        self._screen.holds("its chat goes on")

    def _webhook(self) -> None:
        self._screen.scene(
            "A webhook",
            "A subscriber on HTTP. It verifies the signature of what it is sent, as any receiver "
            "of Standard Webhooks does.",
        )
        settings = self._machine.settings
        with Receiver() as receiver:
            subscription = subscribe(settings, receiver, "ada")
            self._screen.act("agent-worker webhooks add", f"{receiver.url} --chat ada")
            answer = self._ask("ada", "what is the launch day?")
            self._screen.webhook(receiver.wait_for(answer.job_id))
            self._screen.act("agent-worker webhooks log", subscription)
            self._screen.output(log_of(settings, subscription))
        self._screen.holds("its signature is valid, and one for a changed body is not")

    def _summary(self) -> None:
        records = self._machine.jobs()
        self._screen.summary(records)
        committed = [parse_event(record.event) for record in records if record.event]
        claims.were_all_heard(committed, self._subscriber.received())
        self._screen.holds(f"the subscriber has {len(committed)} results, one of each job")

    def _ask(self, chat: str, text: str, thread: str | None = None) -> JobCompleted:
        """One turn: send, and wait until answer and event have arrived."""
        return self._receive(self._send(chat, text, thread))

    def _send(self, chat: str, text: str, thread: str | None = None, progress: str = "none") -> str:
        group = message_group_id(chat, thread)
        self._messages[group] += 1
        job_id = f"{group}-{self._messages[group]}"
        self._screen.question(group, text)
        self._sent_at[job_id] = time.monotonic()
        self._machine.producer.enqueue(
            user_message=text, chat_id=chat, thread_id=thread, job_id=job_id, progress=progress
        )
        return job_id

    def _receive(self, job_id: str, *, shown: bool = True) -> JobCompleted:
        self._subscriber.wait_for(job_id)
        event = self._machine.producer.wait(job_id, timeout=_ANSWER_SECONDS, poll=0.02)
        if shown:
            self._screen.answer(event, time.monotonic() - self._sent_at[job_id])
        return claims.answered(event)
