import asyncio
import json
import os
import subprocess
import sys
import time
import uuid

import pytest

from contracts import JobRequest, session_key
from worker.adapters.aws import Aws
from worker.adapters.ledger import DynamoLedger
from worker.domain.job import Job, JobRecord, JobState, Spent
from worker.domain.policy import Policy, narrow
from worker.domain.session import Segment
from worker.ports import Commit, Pause

DAY = 86400.0


class Shift:
    """A worker as far as the tables see it: jobs of one tenant that begin, end and pause."""

    def __init__(self, aws, resources):
        self.tenant = f"t{uuid.uuid4().hex[:12]}"
        self.aws = aws
        self.resources = resources
        self.ledger = DynamoLedger(
            aws, resources["JOB_TABLE"], resources["SESSION_TABLE"], 30 * DAY
        )

    def key(self, chat, thread=None):
        return session_key(chat, thread, self.tenant)

    async def begin(self, chat, now, job_id=None, owner="worker-a", lease=120):
        request = JobRequest(user_message="hi", chat_id=chat, tenant_id=self.tenant)
        job = Job(
            job_id or f"j-{uuid.uuid4().hex}", self.key(chat), request, narrow(Policy(), request)
        )
        return await self.ledger.claim(job, owner, now, lease)

    async def answer(self, chat, now, *, cost=0.5, published=True, segment=None, **names):
        claim = await self.begin(chat, now, **names)
        segments = (segment or Segment(f"sessions/x/{uuid.uuid4().hex}", 9, "ab" * 32, now),)
        event = json.dumps({"id": f"{claim.job.job_id}/completed"})
        commit = Commit("s-1", segments, (), event, cost_usd=cost, num_turns=2)
        record = await self.ledger.commit(claim, commit, now + 1, 30 * DAY)
        if published:
            await self.ledger.mark_published(record, now + 2)
        return claim

    async def fail(self, chat, now, code="model_error", **names):
        claim = await self.begin(chat, now, **names)
        record = await self.ledger.fail(claim, '{"id": "f"}', code, "it said no", now + 1)
        await self.ledger.mark_published(record, now + 2)
        return claim

    async def pause(self, claim, now, code="model_unavailable", cost=0.0):
        pause = Pause(code, "the model is overloaded", Spent(cost, 1, 10), 0)
        await self.ledger.release(claim, pause, now)

    async def reject(self, chat, now, reason="invalid_request"):
        record = JobRecord(
            f"j-{uuid.uuid4().hex}",
            self.key(chat),
            JobState.REJECTED,
            event='{"id": "r"}',
            error_code=reason,
            error_message="user_message: is missing",
            created_at=now,
            updated_at=now,
        )
        return await self.ledger.reject(record)


@pytest.fixture
async def aws(resources):
    client = Aws(threads=16)
    yield client
    client.close()


@pytest.fixture
def shift(aws, resources):
    return Shift(aws, resources)


@pytest.fixture
def now():
    return time.time()


@pytest.fixture
def command(resources):
    """Runs a command as a person does, with the stack's environment and nothing else."""
    environ = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
    }
    environ |= {
        **resources,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "COLUMNS": "80",
    }

    async def run(*arguments, status=0, text=None, **changes):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "worker", *arguments],
            env={**environ, **changes},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            input=text,
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return run
