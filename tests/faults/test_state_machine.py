"""Any sequence of messages, repeats, replays, faults and time, led call by call by hypothesis.

FAULTS=all runs many more, longer and different each time.
"""

import asyncio
import os
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.faults.guarantees import committed_lines, prompts, violations
from tests.faults.model import model
from tests.faults.process import Fault, Pace, Process
from tests.faults.simulation import runner, seed_dice
from tests.faults.system import System
from worker.domain.job import JobState
from worker.domain.policy import Policy

ALL = os.environ.get("FAULTS") == "all"
CHATS = ("1", "2")
MAX_WORKERS = 4
POLICY = Policy(max_attempts=3, cancel_poll_seconds=20.0)
DRAINED_SECONDS = 4 * 3600.0
POLL_SECONDS = 1
CALL_SECONDS = 0.05


class Workers(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    @initialize()
    def begin(self):
        seed_dice()
        self.run = runner()
        self.loop = self.run.get_loop()
        self.loop.run_until_complete(self._build())
        self.start_a_worker()

    async def _build(self):
        self.system = System()
        self.workers, self.tasks, self.armed = [], [], {}

    @property
    def alive(self):
        return [worker for worker in self.workers if not worker.ended and not worker.dead]

    @rule(
        target=jobs,
        chat=st.sampled_from(CHATS),
        words=st.sampled_from(["", "", "tools=2", "tools=1 flaky", "tools=1 poison"]),
    )
    def send(self, chat, words):
        return self._sent(chat, words, {})

    @rule(target=jobs, chat=st.sampled_from(CHATS))
    def send_what_is_refused(self, chat):
        return self._sent(chat, "", {"model": "gpt-4"})

    def _sent(self, chat, words, fields):
        job_id = f"j-{len(self.system.sent) + 1}"
        text = f"{job_id} {words}".strip()
        self.system.send(text, chat, job_id=job_id, **fields)
        return chat, job_id, text, fields

    @rule(job=jobs)
    def send_again(self, job):
        chat, job_id, text, fields = job
        self.system.send(text, chat, job_id=job_id, **fields)

    @rule(job=jobs)
    def cancel(self, job):
        self.loop.run_until_complete(self._cancel(job[1]))

    async def _cancel(self, job_id):
        self.system.cancel(job_id)

    @rule(job=jobs)
    def send_corrected(self, job):
        chat, job_id, text, _ = job
        self.system.send(text, chat, job_id=job_id)

    @precondition(lambda self: self.system.inbox.dead_letters)
    @rule(data=st.data())
    def replay_a_dead_letter(self, data):
        message, letter = data.draw(st.sampled_from(self.system.inbox.dead_letters))
        chat, _, text, _ = next(sent for sent in self.system.sent if sent[1] == letter.job_id)
        self.system.send(
            text,
            chat,
            job_id=letter.job_id,
            body=message.body,
            attributes={"job_id": letter.job_id, "dead_letter_attempt": str(letter.attempt)},
        )

    @rule()
    def heal_what_is_poisonous(self):
        self.system.healthy = True

    @precondition(lambda self: len(self.alive) < MAX_WORKERS)
    @rule()
    def start_a_worker(self):
        self.loop.run_until_complete(self._start())

    async def _start(self, calls=0):
        pace = Pace()
        pace.allow(calls)
        name = f"worker-{len(self.workers) + 1}"
        worker = Process(
            self.system,
            name,
            model,
            POLICY,
            lambda process, _step: self.armed.pop(process.name, None),
            slots=2,
            pace=pace,
            poll_seconds=POLL_SECONDS,
        )
        self.workers.append(worker)
        self.tasks.append(asyncio.create_task(worker.run()))
        return worker

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), calls=st.integers(1, 15))
    def let_one_go_on(self, data, calls):
        """A worker that is not let go on stands still, while time passes for the others."""
        worker = data.draw(st.sampled_from(self.alive))
        worker._pace.allow(calls)
        self.pass_time(POLL_SECONDS + calls * CALL_SECONDS)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), fault=st.sampled_from(Fault))
    def let_the_next_call_go_wrong(self, data, fault):
        self.armed[data.draw(st.sampled_from(self.alive)).name] = fault

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def kill_one(self, data):
        data.draw(st.sampled_from(self.alive)).kill()
        self.pass_time(POLL_SECONDS)

    @rule(seconds=st.sampled_from([5.0, 30.0, 30.0, 70.0, 130.0, 500.0]))
    def pass_time(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @invariant()
    def nothing_is_broken_on_the_way(self):
        assert self.system.violations == []
        sent = {}
        for chat, _, text, _ in self.system.sent:
            sent.setdefault(chat, []).append(text)
        for chat, texts in sent.items():
            told = Counter(prompts(committed_lines(self.system, chat)))
            assert all(told[text] <= 1 for text in texts)
            self._head_and_jobs_agree(chat)
        assert all(times <= 1 for times in self.system.effects.values())

    def _head_and_jobs_agree(self, chat):
        key = f"default/{chat}"
        head = self.system.ledger.heads.get(key)
        answered = [
            record
            for record in self.system.ledger.jobs.values()
            if record.session_key == key and record.state in {JobState.ANSWERED, JobState.PUBLISHED}
        ]
        assert (head.turns if head else 0) == len(answered)

    def teardown(self):
        if not hasattr(self, "run"):
            return
        try:
            self.loop.run_until_complete(self._drain())
            assert violations(self.system) == []
        finally:
            self.run.close()

    async def _drain(self):
        """All goes well from here on; then everything must come to its end."""
        self.armed.clear()
        for worker in self.alive:
            worker._pace.allow(10**9)
        await self._start(10**9)
        async with asyncio.timeout(DRAINED_SECONDS):
            while self.system.inbox.waiting or any(worker.busy for worker in self.alive):
                await asyncio.sleep(10)
        for worker in self.workers:
            worker.host.stop()
        await asyncio.gather(*self.tasks)


Workers.TestCase.settings = settings(
    max_examples=2000 if ALL else 60,
    stateful_step_count=80 if ALL else 40,
    derandomize=not ALL,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestWorkers = Workers.TestCase
