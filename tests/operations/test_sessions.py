"""Changing a chat respects its workers: on the emulator's tables, with a ledger beside it."""

import json

import pytest

from tests.operations.conftest import DAY
from worker.adapters.objects import ObjectStore
from worker.adapters.segments import encode
from worker.adapters.usage import DynamoUsage
from worker.domain.claim import Claim
from worker.domain.errors import LeaseLostError
from worker.domain.session import SessionHead
from worker.domain.usage import UsageLimits, budgets, rates
from worker.operations.archive import Archive
from worker.operations.blocked import held_chats
from worker.operations.content import download, upload
from worker.operations.deletion import Deletion
from worker.operations.jobs import JobBook
from worker.operations.sessions import ChatBusyError, ChatChangedError, Content, SessionBook
from worker.ports import Commit

pytestmark = pytest.mark.integration


@pytest.fixture
def sessions(aws, resources):
    return SessionBook(aws, resources["SESSION_TABLE"])


@pytest.fixture
def jobs(aws, resources):
    return JobBook(aws, resources["JOB_TABLE"])


async def head(sessions, key):
    return (await sessions.get(key)).head


async def install(sessions, seen, now, **options):
    content = Content("11111111-1111-4111-8111-111111111111", (), (), now + DAY)
    await sessions.install(seen, content, now, **options)


CHANGES = [
    pytest.param(lambda book, seen, now, **o: book.reset(seen, now, **o), id="reset"),
    pytest.param(install, id="install"),
    pytest.param(lambda book, seen, now, **o: book.erase(seen, now, **o), id="erase"),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_chat_with_a_live_lease_is_not_changed(sessions, shift, now, change):
    await shift.answer("a", now - 60)
    claim = await shift.begin("a", now)
    seen = await head(sessions, claim.job.session_key)
    with pytest.raises(ChatBusyError, match=claim.job.job_id):
        await change(sessions, seen, now + 1)
    assert await head(sessions, claim.job.session_key) == seen


@pytest.mark.parametrize("change", CHANGES)
async def test_a_chat_that_was_claimed_since_it_was_read_is_not_changed(
    sessions, shift, now, change
):
    await shift.answer("a", now - 60)
    seen = await head(sessions, shift.key("a"))
    claim = await shift.begin("a", now)
    with pytest.raises(ChatChangedError):
        await change(sessions, seen, now + 1)
    assert (await head(sessions, shift.key("a"))).generation == claim.generation


@pytest.mark.parametrize("change", CHANGES)
async def test_whoever_had_the_chat_before_can_commit_nothing_after_a_change(
    sessions, shift, now, change
):
    zombie = await shift.begin("a", now - 500)
    await change(sessions, await head(sessions, shift.key("a")), now)
    after = await head(sessions, shift.key("a"))
    with pytest.raises(LeaseLostError):
        await shift.ledger.commit(zombie, Commit("s", (), (), "{}", 1.0, 1), now + 1, DAY)
    with pytest.raises(LeaseLostError):
        await shift.ledger.extend(zombie, now + 100)
    assert await head(sessions, shift.key("a")) == after


@pytest.mark.parametrize("change", CHANGES)
async def test_force_takes_the_chat_away_from_its_worker(sessions, shift, now, change):
    claim = await shift.begin("a", now)
    await change(sessions, await head(sessions, shift.key("a")), now + 1, force=True)
    with pytest.raises(LeaseLostError):
        await shift.ledger.extend(claim, now + 100)
    again = await shift.begin("a", now + 2, job_id=claim.job.job_id)
    assert isinstance(again, Claim)


async def test_after_a_reset_the_next_message_starts_anew_and_totals_stay(sessions, shift, now):
    await shift.answer("a", now - 60, cost=0.5)
    await sessions.reset(await head(sessions, shift.key("a")), now)
    claim = await shift.begin("a", now + 1)
    assert (claim.plan.status, claim.plan.segments) == ("new", ())
    assert (claim.head.turns, claim.head.cost_usd) == (1, 0.5)


async def test_what_was_installed_is_what_the_next_message_continues(
    aws, resources, sessions, shift, now
):
    store = ObjectStore(aws, resources["SESSION_BUCKET"])
    session = "11111111-1111-4111-8111-111111111111"
    key = {"project_key": "p", "session_id": session}
    content = Archive("x/1", session, (encode([(key, b'{"uuid": "1"}\n')]),), ())
    target = SessionHead(shift.key("new"))
    segments, files = await upload(store, content, target, now)
    await sessions.install(target, Content(session, segments, files, now + DAY), now)
    claim = await shift.begin("new", now + 1)
    assert (claim.plan.status, claim.plan.session_id) == ("continued", session)
    assert (await download(store, claim.head)).lines == content.lines


async def test_the_list_has_every_chat_of_the_tenant_and_no_other(sessions, shift, now):
    for n in range(5):
        await shift.answer(f"c{n}", now)
    found = {chat.key async for chat in sessions.all(shift.tenant)}
    assert found == {shift.key(f"c{n}") for n in range(5)}


async def test_a_held_chat_tells_why_and_until_when(sessions, jobs, shift, now):
    working = await shift.begin("working", now - 30)
    retrying = await shift.begin("retrying", now - 90)
    await shift.pause(retrying, now - 80)
    await shift.begin("dead", now - 500)
    await shift.answer("done", now - 10)
    held = {
        item.job.chat: item
        for item in await held_chats(jobs, sessions, now)
        if item.job.chat.startswith(shift.tenant)
    }
    assert {key.partition("/")[2]: item.why for key, item in held.items()} == {
        "working": "working",
        "retrying": "retrying",
        "dead": "cut_off",
    }
    working_now = held[working.job.session_key]
    assert working_now.free_at == pytest.approx(now - 30 + 120)
    assert working_now.since == pytest.approx(now - 30)


async def test_a_deletion_takes_everything_of_the_chat_and_nothing_of_another(
    aws, resources, sessions, jobs, shift, now
):
    bucket = resources["SESSION_BUCKET"]
    store = ObjectStore(aws, bucket)
    deletion = Deletion(aws, sessions, jobs, bucket)
    for chat in ("goes", "stays"):
        claim = await shift.answer(chat, now - 60)
        content = Archive("x/1", "s", (b"lines",), (b"files",))
        await upload(store, content, claim.head, now)
        await store.put(f"results/{claim.job.job_id}/1.txt", b"large")
    kept = await deletion.holdings(shift.key("stays"))
    held = await deletion.holdings(shift.key("goes"))
    assert (len(held.segments), len(held.results), len(held.ended)) == (2, 1, 1)
    await deletion.delete(held, now)
    after = await deletion.holdings(shift.key("goes"))
    assert (after.segments, after.turn_logs, after.results) == ((), (), ())
    assert (after.head.session_id, after.head.turns) == (None, 0)
    [job] = after.ended
    assert (await jobs.get(job.job_id)).record.event is None
    assert await deletion.holdings(shift.key("stays")) == kept


async def test_a_copy_of_a_deleted_job_s_message_still_does_not_run(
    aws, resources, sessions, jobs, shift, now
):
    claim = await shift.answer("a", now - 60)
    deletion = Deletion(aws, sessions, jobs, resources["SESSION_BUCKET"])
    await deletion.delete(await deletion.holdings(shift.key("a")), now)
    again = await shift.ledger.claim(claim.job, "w", now + 1, 120)
    assert not isinstance(again, Claim)


async def test_a_deletion_leaves_jobs_that_have_not_ended_and_names_them(
    aws, resources, sessions, jobs, shift, now
):
    claim = await shift.begin("a", now - 60)
    await shift.pause(claim, now - 50)
    unpublished = await shift.answer("a", now - 40, published=False)
    deletion = Deletion(aws, sessions, jobs, resources["SESSION_BUCKET"])
    held = await deletion.holdings(shift.key("a"))
    names = {claim.job.job_id, unpublished.job.job_id}
    assert {job.job_id for job in held.open} == names
    await deletion.delete(held, now)
    assert (await jobs.get(unpublished.job.job_id)).record.event is not None


async def test_the_commands_say_what_a_script_needs(command, shift, now):
    await shift.answer("a", now - 60)
    running = await shift.begin("a", now)
    tenant = ("--tenant", shift.tenant)
    [chat] = json.loads((await command("sessions", "list", *tenant, "--json")).stdout)["chats"]
    assert (chat["turns"], chat["lease"]["live"]) == (1, True)
    shown = json.loads((await command("sessions", "show", "a", *tenant, "--json")).stdout)
    assert shown["jobs"] == {"published": 1, "running": 1}
    listed = json.loads((await command("sessions", "blocked", "--json")).stdout)["blocked"]
    [mine] = [item for item in listed if item["job_id"] == running.job.job_id]
    assert (mine["why"], mine["owner"]) == ("working", "worker-a")
    refused = await command("sessions", "reset", "a", *tenant, status=1)
    assert running.job.job_id in refused.stderr
    assert "--force" in refused.stderr


async def test_counters_of_usage_beside_the_chats_are_no_chats(aws, resources, command, shift, now):
    await shift.answer("a", now - 60)
    usage = DynamoUsage(aws, resources["SESSION_TABLE"])
    limits = UsageLimits(tenant_daily_budget_usd=9, chat_budget_usd=9, chat_jobs_per_minute=9)
    accounts = budgets(limits, shift.key("a"), now)
    await usage.reserve(accounts, "j", 1_000_000, now, now + 60)
    await usage.count(rates(limits, shift.key("a"), now))
    rows = aws.client("dynamodb").scan(
        TableName=resources["SESSION_TABLE"],
        FilterExpression="begins_with(session_key, :tenant)",
        ExpressionAttributeValues={":tenant": {"S": f"{shift.tenant}/"}},
    )["Items"]
    assert len(rows) == 4
    listed = json.loads(
        (await command("sessions", "list", "--tenant", shift.tenant, "--json")).stdout
    )
    assert [chat["chat"] for chat in listed["chats"]] == [shift.key("a")]
    assert listed["total"] == 1


async def test_a_deletion_asks_first(command, shift, now):
    await shift.answer("a", now - 60)
    refused = await command("sessions", "delete", shift.key("a"), status=2)
    assert "--yes" in refused.stderr
    assert shift.key("a") in refused.stdout
    done = await command("sessions", "delete", shift.key("a"), "--yes", "--json")
    assert json.loads(done.stdout)["jobs"] == 1


async def test_a_damaged_archive_changes_nothing(command, shift, now, tmp_path):
    path = tmp_path / "damaged.tar"
    path.write_bytes(b"not a tar")
    refused = await command(
        *("sessions", "import", str(path), "--to-chat", "x", "--to-tenant", shift.tenant), status=1
    )
    assert "damaged.tar" in refused.stderr
    gone = await command("sessions", "show", "x", "--tenant", shift.tenant, status=1)
    assert "nothing is known" in gone.stderr
