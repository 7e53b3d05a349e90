"""One suite for the workbench's documents, one for its view of the tables."""

import uuid
from dataclasses import replace

import pytest

from contracts import JobRequest
from worker.adapters.aws import Aws
from worker.adapters.deskrows import DynamoRows
from worker.adapters.documents import S3Documents
from worker.adapters.ledger import DynamoLedger
from worker.adapters.memory import MemoryDocuments, MemoryLedger, MemoryRows
from worker.domain.job import Job
from worker.domain.policy import Policy, narrow
from worker.ports import Commit

NOW = 1_800_000_000.0
BOTH = ["memory", pytest.param("aws", marks=pytest.mark.integration)]


@pytest.fixture
def aws(request):
    if request.node.callspec.params["kind"] == "memory":
        yield None
        return
    request.getfixturevalue("resources")
    aws = Aws(threads=8)
    yield aws
    aws.close()


@pytest.fixture(params=BOTH)
def kind(request):
    return request.param


@pytest.fixture
def documents(kind, aws, request):
    if kind == "memory":
        return MemoryDocuments()
    return S3Documents(aws, request.getfixturevalue("resources")["SESSION_BUCKET"])


@pytest.fixture
def tables(kind, aws, request):
    if kind == "memory":
        ledger = MemoryLedger()
        return ledger, MemoryRows(ledger)
    names = request.getfixturevalue("resources")
    jobs, sessions = names["JOB_TABLE"], names["SESSION_TABLE"]
    return DynamoLedger(aws, jobs, sessions, 86400), DynamoRows(aws, jobs, sessions)


async def test_a_document_is_what_was_last_put(documents):
    folder = uuid.uuid4().hex
    assert await documents.get(f"{folder}/a") is None
    await documents.put(f"{folder}/a", {"n": 1, "text": "é"})
    await documents.put(f"{folder}/a", {"n": 2, "text": "é"})
    assert await documents.get(f"{folder}/a") == {"n": 2, "text": "é"}


async def test_documents_are_listed_by_the_beginning_of_their_keys(documents):
    folder = uuid.uuid4().hex
    for name in ("b/2", "b/1", "c/1"):
        await documents.put(f"{folder}/{name}", {})
    assert await documents.keys(f"{folder}/b/") == [f"{folder}/b/1", f"{folder}/b/2"]


async def test_a_document_can_be_removed_and_that_repeated(documents):
    key = uuid.uuid4().hex
    await documents.put(key, {})
    await documents.remove(key)
    await documents.remove(key)
    assert await documents.get(key) is None


def a_job():
    chat = uuid.uuid4().hex
    request = JobRequest(user_message="hello", chat_id=chat)
    return Job(f"j-{chat}", f"default/{chat}", request, narrow(Policy(), request))


async def test_rows_of_many_jobs_and_chats_are_read_at_once_and_unknown_ones_left_out(tables):
    ledger, rows = tables
    jobs = [a_job() for _ in range(3)]
    claims = [await ledger.claim(job, "w", NOW, 120) for job in jobs]
    await ledger.commit(claims[0], Commit("s", (), (), "{}", 0.5, 1), NOW + 1, 86400)
    await ledger.fail(claims[1], "{}", "model_error", "no", NOW + 2)
    names = [job.job_id for job in jobs]
    found = await rows.jobs([*names, *names, "j-unknown", ""])
    assert {name: record.state for name, record in found.items()} == {
        names[0]: "answered",
        names[1]: "failed",
        names[2]: "running",
    }
    assert found[names[1]].error_code == "model_error"
    chats = await rows.chats([*(job.session_key for job in jobs), "default/unknown"], NOW + 3)
    assert len(chats) == 3
    first, failed, busy = (chats[job.session_key] for job in jobs)
    assert (first.turns, first.average_usd, first.busy_with) == (1, 0.5, None)
    assert (failed.turns, failed.average_usd) == (0, None)
    assert busy.busy_with == names[2]


async def test_a_lease_that_ran_out_holds_no_chat(tables):
    ledger, rows = tables
    job = a_job()
    await ledger.claim(job, "w", NOW, 120)
    [chat] = (await rows.chats([job.session_key], NOW + 121)).values()
    assert chat.busy_with is None


async def test_notes_are_kept_with_the_job_and_survive_its_next_claim(tables):
    ledger, rows = tables
    job = a_job()
    claim = await ledger.claim(job, "w", NOW, 120)
    await rows.note(job.job_id, {"at": NOW, "what": "replayed"})
    await ledger.fail(claim, "{}", "model_error", "no", NOW + 2)
    await ledger.claim(replace(job, dead_letter_attempt=1), "w", NOW + 3, 120)
    await rows.note(job.job_id, {"at": NOW + 4, "what": "edited"})
    assert await rows.notes(job.job_id) == [
        {"at": NOW, "what": "replayed"},
        {"at": NOW + 4, "what": "edited"},
    ]


async def test_a_note_makes_no_job(tables):
    ledger, rows = tables
    await rows.note("j-none", {"at": NOW, "what": "replayed"})
    assert await rows.notes("j-none") == []
    assert await ledger.get("j-none") is None


@pytest.mark.integration
async def test_more_rows_than_one_request_takes(resources):
    aws = Aws(threads=8)
    rows = DynamoRows(aws, resources["JOB_TABLE"], resources["SESSION_TABLE"])
    assert await rows.jobs(f"j-{n}" for n in range(250)) == {}
    aws.close()
