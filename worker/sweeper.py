"""Finishes what a dead worker left: publishes what was committed, and names what is stuck."""

from dataclasses import dataclass

from worker.domain.errors import UnavailableError
from worker.metering import settle
from worker.ports import Ports

UNPUBLISHED_SECONDS = 60.0
"""A live worker publishes within moments of its commit; after this nobody is about to."""

BATCH = 100


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep found: events published now, those that could not be, and jobs that have been
    running for longer than any turn, its lease and its backoff take.
    """

    published: int
    failed: int
    stuck: int


async def sweep(ports: Ports) -> Sweep:
    """One pass, oldest first and bounded. Running it twice, or beside a worker, repeats at most an
    event with the same id.
    """
    now = ports.clock.now()
    published = failed = 0
    for record in await ports.ledger.unfinished("unpublished", now - UNPUBLISHED_SECONDS, BATCH):
        try:
            await settle(record, ports)
            if record.event is not None:
                await ports.publisher.publish(record.event)
            await ports.ledger.mark_published(record, now)
        except UnavailableError as exc:
            failed += 1
            ports.journal.note("sweep_failed", job_id=record.job_id, error=str(exc))
            continue
        except Exception as exc:  # noqa: BLE001 - one row that cannot be read stops no other
            failed += 1
            ports.journal.failure("sweep_failed", exc, job_id=record.job_id)
            continue
        published += 1
        ports.journal.note("swept", job_id=record.job_id, state=record.state.value)
    stuck = await ports.ledger.unfinished("running", now - stuck_seconds(ports), BATCH)
    for record in stuck:
        ports.journal.note(
            "stuck",
            job_id=record.job_id,
            attempt=record.attempt,
            seconds=round(now - record.updated_at),
            error_code=record.error_code,
        )
    return Sweep(published, failed, len(stuck))


def stuck_seconds(ports: Ports) -> float:
    """The longest that a healthy job goes without a change: a turn, two leases, a backoff."""
    return ports.policy.timeout_seconds + 2 * ports.policy.lease_seconds + 300
