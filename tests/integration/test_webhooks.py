"""Webhooks on real parts: the bus, queue and table of the emulator, both hosts, the commands, and
subscribers over HTTP on loopback."""

import asyncio
import json
import os
import tracemalloc
import uuid

import boto3
import pytest
import standardwebhooks
import svix.webhooks
from typer.testing import CliRunner

from contracts import JobCompletedEvent, parse_event, verify_webhook
from tests.integration.conftest import until
from tests.integration.webhook_servers import answering, hanging, subscriber
from worker.entrypoints import webhook_lambda
from worker.entrypoints.cli import command_line
from worker.entrypoints.webhook_host import WebhookHost
from worker.webhook_bootstrap import build_webhooks
from worker.webhooks import service
from worker.webhooks.delivery import DeliveryState
from worker.webhooks.event import wake_body
from worker.webhooks.subscription import new_subscription

pytestmark = pytest.mark.integration


async def webhooks_command(environ, *arguments, status=0, stdin=None):
    """`agent-worker webhooks ...`; what it has printed. In this process, which has imported all."""
    runner = CliRunner(env={**environ, "COLUMNS": "80"})
    done = await asyncio.to_thread(
        runner.invoke, command_line(), ["webhooks", *arguments], input=stdin
    )
    assert done.exit_code == status, done.output
    return done.output


async def test_a_job_s_result_reaches_a_subscriber_who_verifies_it_with_any_library(bot):
    async with subscriber(answering(200)) as (port, requests):
        added = json.loads(
            await webhooks_command(
                bot.environ, "add", f"http://127.0.0.1:{port}/", "--chat", bot.chat, "--json"
            )
        )
        job_id = bot.send("hello", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
        await bot.result(job_id)
        await until(lambda: requests)
        [request] = requests
        webhook_id = verify_webhook(request.headers, request.body, added["secret"])
        assert webhook_id == f"{job_id}/completed"
        standardwebhooks.Webhook(added["secret"]).verify(request.body, request.headers)
        svix.webhooks.Webhook(added["secret"]).verify(request.body, request.headers)
        event = parse_event(request.body)
        assert isinstance(event, JobCompletedEvent)
        assert event.data.chat_id == bot.chat
        assert request.headers["traceparent"] == event.traceparent
        assert event.to_json() == bot.record(job_id)["event"]["S"]
        logged = json.loads(
            await webhooks_command(bot.environ, "log", added["subscription_id"], "--json")
        )
    assert [line["attempt"]["status"] for line in logged["attempts"]] == [200]
    await webhooks_command(bot.environ, "remove", added["subscription_id"], "--yes")


async def test_a_subscription_s_life_by_commands_which_show_its_secret_once(environ, host):
    said = []

    async def run(*arguments, **options):
        text = await webhooks_command(environ, *arguments, **options)
        said.append(text)
        return text

    async with subscriber(answering(503, b"down")) as (port, requests):
        url = f"http://127.0.0.1:{port}/hook?token=s3cret"
        own = "whsec_" + "A" * 43 + "="
        added = json.loads(
            await webhooks_command(
                environ, "add", url, "--tenant", "nobody", "--secret", "-", "--json", stdin=own
            )
        )
        sub = added["subscription_id"]
        assert added["secret"] == own
        assert sub in await run("list")
        assert "answered 503: down" in await run("test", sub, status=1)
        verify_webhook(requests[0].headers, requests[0].body, own)
        assert "503" in await run("show", sub)
        await run("pause", sub)
        assert "first: agent-worker webhooks resume" in await run("test", sub, status=1)
        await run("resume", sub)
        rotated = json.loads(await webhooks_command(environ, "rotate", sub, "--json"))
        assert "and one until" in await run("show", sub)
        logged = json.loads(await run("log", sub, "--failed", "--json"))
        [line] = logged["attempts"]
        assert line["type"] == "agent.webhook.test"
        assert "1 delivery would be sent again" in await run(
            "resend", sub, "--since", "1h", "--dry-run"
        )
        await run("resend", sub, line["webhook_id"])
        await until(lambda: len(requests) > 1)
        for secret in (own, rotated["secret"]):
            verify_webhook(requests[1].headers, requests[1].body, secret)
        await run("remove", sub, "--yes")
        assert "there is no subscription" in await run("show", sub, status=1)
    for text in said:
        for secret in (own, rotated["secret"], "whsec_", "s3cret"):
            assert secret not in text
    assert own not in host.read_text()


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (("add", "http://example.com/"), "must begin with https"),
        (("add", "https://10.0.0.1/"), "which is not a public one"),
        (("add", "https://169.254.169.254/x"), "which is not a public one"),
        (("add", "https://user:pw@127.0.0.1/"), "user name or password"),
        (("add", "https://127.0.0.1/", "--type", "agent.job.dune"), "matches no event"),
        (("add", "https://127.0.0.1/", "--secret", "whsec_x"), "standard input"),
        (("log", "wh_none"), "there is no subscription 'wh_none'"),
    ],
)
async def test_a_command_that_cannot_be_carried_out_says_why(environ, arguments, mentions):
    text = await webhooks_command(environ, *arguments, status=1)
    assert mentions in " ".join(text.split())


@pytest.fixture
def own_webhooks(environ):
    """Settings of webhooks with queues of the test's own: no other host takes their messages."""
    sqs = boto3.client("sqs")
    urls = {
        name: sqs.create_queue(QueueName=f"webhooks-{uuid.uuid4().hex}")["QueueUrl"]
        for name in ("WEBHOOK_QUEUE_URL", "WEBHOOK_DLQ_URL")
    }
    yield {**environ, **urls}
    for url in urls.values():
        sqs.delete_queue(QueueUrl=url)


def envelope(tenant, response="done", kind="agent.job.completed"):
    job = uuid.uuid4().hex
    event = {
        "specversion": "1.0",
        "id": f"{job}/{kind.rpartition('.')[2]}",
        "type": kind,
        "tenantid": tenant,
        "data": {"job_id": job, "chat_id": "1", "response": response},
    }
    return {"source": "agent-worker", "detail-type": kind, "detail": event}


async def subscribe(webhooks, url, tenant, **fields):
    secret = "whsec_" + "B" * 43 + "="
    now = webhooks.ports.clock.now()
    return await webhooks.ports.store.save(
        new_subscription(
            url, secret, now, types=("*",), tenants=(tenant,), allow_loopback=True, **fields
        )
    )


def received(url):
    """Messages that are in a queue now, read once."""
    answer = boto3.client("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    return answer.get("Messages", [])


class Context:
    def __init__(self, seconds=60):
        self.seconds = seconds

    def get_remaining_time_in_millis(self):
        return self.seconds * 1000


@pytest.fixture
def function(own_webhooks, monkeypatch):
    """Calls the Lambda functions, off this test's event loop."""
    webhooks = build_webhooks(own_webhooks)
    runner = asyncio.Runner()
    monkeypatch.setattr(webhook_lambda, "_warm", lambda: (webhooks, runner))

    async def call(name, *bodies, seconds=60):
        records = [
            {"messageId": f"m-{i}", "body": body, "receiptHandle": "r"}
            for i, body in enumerate(bodies)
        ]
        entry = getattr(webhook_lambda, name)
        return await asyncio.to_thread(entry, {"Records": records}, Context(seconds))

    call.webhooks, call.environ = webhooks, own_webhooks
    yield call
    runner.run(webhooks.close())
    runner.close()


async def test_the_lambda_function_delivers_a_batch_and_says_that_it_is_done(function):
    tenant = uuid.uuid4().hex
    async with subscriber(answering(200)) as (port, requests):
        sub = await subscribe(function.webhooks, f"http://127.0.0.1:{port}/", tenant)
        events = [envelope(tenant) for _ in range(12)]
        answer = await function("handler", *map(json.dumps, events))
    assert answer == {"batchItemFailures": []}
    assert {json.loads(r.body)["id"] for r in requests} == {e["detail"]["id"] for e in events}
    recent = function.webhooks.ports.store.recent(sub.subscription_id)
    assert [d.state async for d in recent] == [DeliveryState.DELIVERED] * 12


async def test_a_message_that_is_no_event_is_in_the_webhooks_own_dead_letter_queue(function):
    answer = await function("handler", "no", json.dumps({"detail": {"a": 1}}))
    assert answer == {"batchItemFailures": []}
    letters = received(function.environ["WEBHOOK_DLQ_URL"])
    found = {
        letter["Body"]: letter["MessageAttributes"]["dead_letter_reason"]["StringValue"]
        for letter in letters
    }
    assert found == {"no": "invalid_json", '{"detail": {"a": 1}}': "invalid_event"}


async def test_an_event_that_could_not_be_stored_is_handed_out_again(function, monkeypatch):
    from worker.adapters.aws import RefusedError

    tenant = uuid.uuid4().hex
    await subscribe(function.webhooks, "http://127.0.0.1:9/", tenant)

    async def refuse(*_):
        raise RefusedError("dynamodb put_item", "AccessDeniedException", "no", ())

    monkeypatch.setattr(type(function.webhooks.ports.store), "add", refuse)
    good = json.dumps(envelope("nobody-subscribes"))
    answer = await function("handler", json.dumps(envelope(tenant)), good)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-0"}]}


async def test_an_invocation_that_runs_out_of_time_leaves_the_rest_to_the_next(function):
    tenant = uuid.uuid4().hex
    async with subscriber(answering(200)) as (port, requests):
        sub = await subscribe(function.webhooks, f"http://127.0.0.1:{port}/", tenant)
        answer = await function("handler", json.dumps(envelope(tenant)), seconds=5)
        assert (answer, requests) == ({"batchItemFailures": []}, [])
        [wake] = received(function.environ["WEBHOOK_QUEUE_URL"])
        assert wake["Body"] == wake_body(sub.subscription_id)
        await function("handler", wake["Body"])
    assert len(requests) == 1


async def test_the_sweeper_wakes_what_was_forgotten(function):
    tenant = uuid.uuid4().hex
    async with subscriber(answering(200)) as (port, requests):
        sub = await subscribe(function.webhooks, f"http://127.0.0.1:{port}/", tenant)
        await function("handler", json.dumps(envelope(tenant)), seconds=5)
        received(function.environ["WEBHOOK_QUEUE_URL"])  # the wake is lost
        woken = await function("sweeper")
        bodies = [m["Body"] for m in received(function.environ["WEBHOOK_QUEUE_URL"])]
        assert woken["woken"] == len(bodies) >= 1
        assert wake_body(sub.subscription_id) in bodies
        await function("handler", wake_body(sub.subscription_id))
    assert len(requests) == 1


async def test_a_host_retries_after_seconds_and_a_subscriber_that_hangs_delays_no_other(
    own_webhooks,
):
    webhooks = build_webhooks({**own_webhooks, "WEBHOOK_TIMEOUT_SECONDS": "20"})
    host = WebhookHost(webhooks, poll_seconds=1, drain_seconds=0)
    sqs = boto3.client("sqs")
    tenant = uuid.uuid4().hex
    statuses = iter([500])

    async def once_down(writer):
        await answering(next(statuses, 200))(writer)

    async with (
        subscriber(hanging) as (stuck, hung),
        subscriber(answering(200)) as (fine, got),
        subscriber(once_down) as (flaky, tried),
    ):
        for port in (stuck, fine, flaky):
            await subscribe(webhooks, f"http://127.0.0.1:{port}/", tenant)
        task = asyncio.create_task(host.run())
        for _ in range(30):
            sqs.send_message(
                QueueUrl=own_webhooks["WEBHOOK_QUEUE_URL"],
                MessageBody=json.dumps(envelope(tenant)),
            )
        await until(lambda: len(got) == 30 and len(tried) >= 31)
        assert len(hung) == webhooks.ports.policy.concurrency  # the first ones still hang
        host.stop()
        await asyncio.wait_for(task, 30)
    await webhooks.close()
    bodies = [request.body for request in tried]
    assert len(set(bodies)) == 30


async def test_memory_does_not_grow_with_what_waits(own_webhooks):
    """12 MB of events wait for two subscribers; what is held at a time is what is being sent."""
    webhooks = build_webhooks({**own_webhooks, "WEBHOOK_CONCURRENCY": "2"})
    store, tenant = webhooks.ports.store, uuid.uuid4().hex
    from worker.webhooks.consumer import accept
    from worker.webhooks.lane import deliver

    async with subscriber(answering(200)) as (port, requests):
        subs = [await subscribe(webhooks, f"http://127.0.0.1:{port}/{i}", tenant) for i in range(2)]
        for _ in range(60):
            await accept(json.dumps(envelope(tenant, "x" * 200_000)), webhooks.ports)
        tracemalloc.start()
        drained = asyncio.gather(*(deliver(s.subscription_id, webhooks.ports) for s in subs))
        while not drained.done():
            await asyncio.sleep(0.05)
            for request in requests:
                request.body = b""  # what the subscriber keeps is not ours
        await drained
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(requests) == 120
    for sub in subs:
        assert await store.due(sub.subscription_id, webhooks.ports.clock.now(), 1) == []
    assert peak < 6e6
    await webhooks.close()


async def test_what_failed_in_a_time_range_is_resent_from_the_table(own_webhooks):
    webhooks = build_webhooks(own_webhooks)
    ports, tenant = webhooks.ports, uuid.uuid4().hex
    from worker.webhooks.consumer import accept

    sub = await subscribe(webhooks, "http://127.0.0.1:9/", tenant)
    start = ports.clock.now()
    await service.pause(sub.subscription_id, ports)
    for _ in range(120):  # more than a page
        await accept(json.dumps(envelope(tenant)), ports)
    end = ports.clock.now()
    await service.resume(sub.subscription_id, ports)
    assert await service.resend_between(sub.subscription_id, start, end, ports) == 120
    assert await service.resend_between(sub.subscription_id, end + 1, end + 2, ports) == 0
    assert len(await ports.store.due(sub.subscription_id, ports.clock.now(), 1000)) == 120
    await ports.store.remove(sub.subscription_id)
    await webhooks.close()


def test_settings_that_lack_something_name_it(environ):
    from worker.domain.errors import SettingsError

    given = {**environ, "WEBHOOK_DLQ_URL": "", "WEBHOOK_CONCURRENCY": "0"}
    with pytest.raises(SettingsError) as caught:
        build_webhooks(given)
    assert "WEBHOOK_DLQ_URL: is not set" in str(caught.value)
    assert "WEBHOOK_CONCURRENCY" in str(caught.value)
    same = {**environ, "WEBHOOK_DLQ_URL": environ["WEBHOOK_QUEUE_URL"]}
    with pytest.raises(SettingsError, match="the same as WEBHOOK_QUEUE_URL"):
        build_webhooks(same)
    assert os.environ.get("WEBHOOK_TABLE") is None
