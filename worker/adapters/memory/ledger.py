"""Both tables, in memory."""

from dataclasses import replace

from contracts.control import CancelRequest
from worker.domain.claim import Claim, ClaimResult, Run, claim_of, decide_claim
from worker.domain.errors import LeaseLostError
from worker.domain.job import Job, JobRecord, JobState
from worker.domain.session import Lease, SessionHead
from worker.ports import Commit, Pause


class MemoryLedger:
    """Both tables as dictionaries; each method is one step, as one transaction is."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.heads: dict[str, SessionHead] = {}
        self.controls: dict[str, CancelRequest] = {}

    async def claim(self, job: Job, owner: str, now: float, lease_seconds: float) -> ClaimResult:
        record = self.jobs.get(job.job_id)
        head = self.heads.get(job.session_key, SessionHead(job.session_key))
        cancel = self.controls.get(job.job_id)
        source = self.heads.get(job.source_key) if job.source_key else None
        standing = decide_claim(job, record, head, now, cancel, source)
        if not isinstance(standing, Run):
            return standing
        if standing.cancel is None:
            self.controls.pop(job.job_id, None)
        claim = claim_of(job, owner, standing, record, head, now, source)
        self.jobs[job.job_id] = JobRecord(
            job_id=job.job_id,
            session_key=job.session_key,
            state=JobState.RUNNING,
            attempt=claim.attempt,
            first_attempt=claim.first_attempt,
            generation=claim.generation,
            slices=claim.slices,
            spent=claim.spent,
            created_at=claim.created_at,
            updated_at=now,
            claimed_at=now,
            history=claim.history,
        )
        self.heads[job.session_key] = replace(
            head,
            generation=claim.generation,
            lease=Lease(owner, job.job_id, now + lease_seconds),
        )
        return claim

    async def extend(self, claim: Claim, lease_expires_at: float) -> None:
        head = self._fenced(claim)
        if head.lease is None:
            raise LeaseLostError(claim.job.session_key, claim.generation)
        self.heads[head.session_key] = replace(
            head, lease=replace(head.lease, expires_at=lease_expires_at)
        )

    async def commit(
        self, claim: Claim, commit: Commit, now: float, session_ttl_seconds: float
    ) -> JobRecord:
        head = self._fenced(claim, commit.state)
        record = self.jobs[claim.job.job_id]
        if record.state is commit.state:
            return record
        self.heads[head.session_key] = replace(
            head,
            session_id=commit.session_id,
            segments=commit.segments,
            files=commit.files,
            version=head.version + 1,
            turns=head.turns + 1,
            cost_usd=head.cost_usd + commit.cost_usd,
            expires_at=now + session_ttl_seconds,
            lease=None,
        )
        cancelled = commit.state is JobState.CANCELLED
        return self._end(
            record,
            now,
            state=commit.state,
            event=commit.event,
            error_code="cancelled" if cancelled else None,
            error_message=commit.error_message,
        )

    async def release(self, claim: Claim, pause: Pause, now: float) -> None:
        head = self._fenced(claim)
        self.heads[head.session_key] = replace(head, lease=None)
        self._end(
            self.jobs[claim.job.job_id],
            now,
            error_code=pause.code,
            error_message=pause.message,
            first_attempt=claim.first_attempt + (0 if pause.counted else 1),
            slices=pause.slices,
            spent=pause.spent,
            history=claim.ended(pause.code, pause.message, now),
        )

    async def fail(
        self, claim: Claim, event: str, code: str, message: str, now: float
    ) -> JobRecord:
        return self._abandon(claim, JobState.FAILED, event, code, message, now)

    async def cancel(self, claim: Claim, event: str, message: str, now: float) -> JobRecord:
        return self._abandon(claim, JobState.CANCELLED, event, "cancelled", message, now)

    async def cancel_request(self, job_id: str, now: float) -> CancelRequest | None:  # noqa: ARG002 - nothing expires here
        return self.controls.get(job_id)

    def _abandon(
        self, claim: Claim, state: JobState, event: str, code: str, message: str, now: float
    ) -> JobRecord:
        head = self._fenced(claim, state)
        self.heads[head.session_key] = replace(head, lease=None)
        return self._end(
            self.jobs[claim.job.job_id],
            now,
            state=state,
            event=event,
            error_code=code,
            error_message=message,
            spent=claim.spent,
            history=claim.ended(code, message, now),
        )

    async def reject(self, record: JobRecord) -> JobRecord:
        return self.jobs.setdefault(record.job_id, record)

    async def mark_published(self, record: JobRecord, now: float) -> None:
        current = self.jobs[record.job_id]
        if (current.state, current.attempt) != (record.state, record.attempt):
            return
        state = JobState.PUBLISHED if current.state is JobState.ANSWERED else current.state
        self._end(current, now, state=state, published_at=now)

    async def get(self, job_id: str) -> JobRecord | None:
        return self.jobs.get(job_id)

    async def unfinished(self, state: str, before: float, limit: int) -> list[JobRecord]:
        found = [
            record
            for record in self.jobs.values()
            if record.updated_at < before
            and (record.state is JobState.RUNNING) == (state == "running")
            and record.published_at is None
        ]
        return sorted(found, key=lambda record: record.updated_at)[:limit]

    def _fenced(self, claim: Claim, repeated: JobState | None = None) -> SessionHead:
        head = self.heads[claim.job.session_key]
        record = self.jobs[claim.job.job_id]
        if head.generation != claim.generation or record.generation != claim.generation:
            raise LeaseLostError(claim.job.session_key, claim.generation)
        if record.state is not JobState.RUNNING and record.state is not repeated:
            raise LeaseLostError(claim.job.session_key, claim.generation)
        return head

    def _end(self, record: JobRecord, now: float, **changes: object) -> JobRecord:
        ended = replace(record, updated_at=now, **changes)  # type: ignore[arg-type] # field names
        self.jobs[record.job_id] = ended
        return ended
