"""Both stores of sessions, with the same grip for a test to hold them by."""

import uuid

from contracts import JobRequest, session_key
from worker.adapters.checkouts import Ahead, S3Checkouts
from worker.adapters.memory import TOOL_LINE, ManualClock, MemoryCheckouts
from worker.adapters.objects import ObjectStore
from worker.domain.claim import Claim
from worker.domain.job import Job
from worker.domain.policy import Policy, narrow
from worker.domain.session import SessionHead, SessionPlan

PROJECT = "-tmp-workspace"


class Resident:
    """What stands for the agent's process; `spec` is what it was started for, ahead of its chat."""

    memory = 1

    def __init__(self, spec=None):
        self.spec = spec
        self.ended = False

    async def end(self):
        self.ended = True


class MemoryStore:
    def __init__(self):
        self.clock = ManualClock()
        self.checkouts = MemoryCheckouts(self.clock)
        self.started = []

    def with_spares(self):
        """With a process that waits for new chats; `started` has all that were."""

        def start(spec):
            self.started.append(Resident(spec))
            return self.started[-1]

        self.checkouts = self.checkouts.of_another_process(start)

    async def call_tool(self, checkout, name):
        checkout.transcript.append(f"{TOOL_LINE}{name}")

    def write(self, checkout, name, text):
        checkout.workspace[name] = text

    def delete(self, checkout, name):
        del checkout.workspace[name]

    def files(self, checkout):
        return dict(checkout.workspace)

    async def append(self, checkout, lines):
        checkout.transcript.extend(lines)

    async def read(self, checkout):
        return list(checkout.transcript)

    async def remove(self, segment):
        del self.checkouts.segments[segment.key]

    async def tamper(self, segment):
        self.checkouts.segments[segment.key][0] += "!"


class S3Store:
    """The real store; its transcript is read back from the files that the CLI would read."""

    def __init__(self, aws, bucket, work_dir):
        self.clock = ManualClock()
        self.failures = []
        self.aws, self.bucket, self.work_dir = aws, bucket, work_dir
        self.checkouts = S3Checkouts(ObjectStore(aws, bucket), work_dir, PROJECT, self.clock)
        self.started = []

    def with_spares(self, start=None, work_dir=None):
        """With a process that waits for new chats; `started` has all that were."""

        async def starts(spec, _session_id, directory, _transcript):
            self.started.append(Resident(spec))
            (directory / "home" / "of-the-process").touch()
            return self.started[-1]

        self.checkouts = S3Checkouts(
            ObjectStore(self.aws, self.bucket),
            work_dir or self.work_dir,
            PROJECT,
            self.clock,
            ahead=Ahead(1, start or starts, self.failures.append),
        )

    def another_worker_here(self):
        store = ObjectStore(self.aws, self.bucket)
        return S3Checkouts(store, self.work_dir, PROJECT, self.clock)

    def another_machine(self):
        place = self.work_dir.with_name("another")
        return S3Checkouts(ObjectStore(self.aws, self.bucket), place, PROJECT, self.clock)

    def _key(self, checkout):
        return {"project_key": PROJECT, "session_id": checkout.plan.session_id}

    async def append(self, checkout, lines):
        entries = [{"type": "user", "uuid": uuid.uuid4().hex, "text": line} for line in lines]
        await checkout.transcript.append(self._key(checkout), entries)

    async def call_tool(self, checkout, name):
        call = {"type": "tool_use", "id": name, "name": "Bash", "input": {}}
        entry = {
            "type": "assistant",
            "uuid": uuid.uuid4().hex,
            "text": f"{TOOL_LINE}{name}",
            "message": {"role": "assistant", "content": [call]},
        }
        await checkout.transcript.append(self._key(checkout), [entry])

    def write(self, checkout, name, text):
        path = checkout.directory / "workspace" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def delete(self, checkout, name):
        (checkout.directory / "workspace" / name).unlink()

    def files(self, checkout):
        root = checkout.directory / "workspace"
        return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}

    async def read(self, checkout):
        loaded = await checkout.transcript.load(self._key(checkout)) or []
        return [entry["text"] for entry in loaded]

    async def remove(self, segment):
        await self.aws.call("s3", "delete_object", Bucket=self.bucket, Key=segment.key)

    async def tamper(self, segment):
        await self.aws.call(
            "s3", "put_object", Bucket=self.bucket, Key=segment.key, Body=b"garbage"
        )


def a_claim(plan, generation, chat="1", job_id=None, attempt=1):
    request = JobRequest(user_message="hi", chat_id=chat)
    key = session_key(request.chat_id, None, "default")
    job = Job(job_id or f"j-{generation}", key, request, narrow(Policy(), request))
    return Claim(job, "a", attempt, 1, generation, False, SessionHead(key), plan, 0.0)


def new_plan():
    return SessionPlan(str(uuid.uuid4()), "new")
