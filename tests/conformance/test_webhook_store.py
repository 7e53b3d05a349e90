"""One suite for every webhook store: subscriptions, deliveries that are due, lanes."""

import json
import uuid
from dataclasses import replace

import pytest

from worker.adapters.aws import Aws
from worker.adapters.memory.webhooks import MemoryWebhookStore
from worker.adapters.webhook_store import DynamoWebhookStore
from worker.webhooks.delivery import DeliveryState, new_delivery
from worker.webhooks.errors import ChangedError
from worker.webhooks.event import read_event
from worker.webhooks.policy import Again, Answer, Delivered, Policy
from worker.webhooks.ports import Lane
from worker.webhooks.subscription import Secret, Subscription

NOW = 1_800_000_000.25
POLICY = Policy()


@pytest.fixture(params=["memory", pytest.param("dynamodb", marks=pytest.mark.integration)])
def store(request):
    if request.param == "memory":
        yield MemoryWebhookStore()
        return
    resources = request.getfixturevalue("resources")
    aws = Aws(threads=8)
    yield DynamoWebhookStore(aws, resources["WEBHOOK_TABLE"])
    aws.close()


def subscription(**fields):
    return Subscription(
        **{
            "subscription_id": f"wh_{uuid.uuid4().hex}",
            "url": "https://example.com/hook?x=1",
            "secrets": (Secret("whsec_new"), Secret("whsec_old", NOW + 60)),
            "tenants": ("acme",),
            "chats": ("1", "2"),
            "description": "ünï",
            "created_at": NOW,
            "updated_at": NOW,
            **fields,
        }
    )


def event(**fields):
    job = uuid.uuid4().hex
    return read_event(
        {
            "specversion": "1.0",
            "id": f"{job}/completed",
            "type": "agent.job.completed",
            "tenantid": "acme",
            "traceparent": "00-a-b-01",
            "data": {"chat_id": "1", "response": "ünï", "cost_usd": 0.0123},
            **fields,
        }
    )


async def stored(store, sub, now=NOW, **fields):
    one = event(**fields)
    await store.add(one, [new_delivery(one, sub, now, POLICY)])
    return await store.delivery(sub.subscription_id, one.webhook_id)


async def test_a_subscription_is_kept_as_it_was_saved(store):
    sub = subscription(disabled="failing", announcement='{"id": "x"}')
    saved = await store.save(sub)
    assert saved == replace(sub, revision=1)
    assert await store.subscription(sub.subscription_id) == saved
    assert saved in await store.subscriptions()


async def test_a_subscription_that_has_changed_meanwhile_is_not_overwritten(store):
    saved = await store.save(subscription())
    with pytest.raises(ChangedError):
        await store.save(replace(saved, revision=0))
    first = await store.save(replace(saved, description="first"))
    with pytest.raises(ChangedError):
        await store.save(replace(saved, description="second"))
    assert await store.subscription(saved.subscription_id) == first
    resumed = await store.save(replace(first, disabled=None, announcement=None))
    assert resumed.enabled


async def test_a_removed_subscription_is_gone_and_removing_it_again_is_no_error(store):
    saved = await store.save(subscription())
    for _ in range(2):
        await store.remove(saved.subscription_id)
    assert await store.subscription(saved.subscription_id) is None
    assert saved.subscription_id not in {s.subscription_id for s in await store.subscriptions()}


async def test_an_event_is_sent_as_it_came_to_whoever_gets_it(store):
    one = event()
    await store.add(one, [new_delivery(one, subscription(), NOW, POLICY)])
    assert await store.event(one.webhook_id) == one
    assert json.loads(one.body)["data"]["cost_usd"] == 0.0123
    assert await store.event("other") is None


async def test_an_event_that_comes_twice_is_one_delivery(store):
    sub, one = subscription(), event()
    delivery = new_delivery(one, sub, NOW, POLICY)
    await store.add(one, [delivery])
    [found] = await store.due(sub.subscription_id, NOW, 10)
    done = await store.change(found.attempted(Answer(200, 0.1), Delivered(), NOW, NOW))
    await store.add(one, [delivery])
    assert await store.delivery(sub.subscription_id, one.webhook_id) == done
    assert await store.due(sub.subscription_id, NOW, 10) == []


async def test_what_is_due_is_found_at_once_the_oldest_first_and_no_more_than_asked_for(store):
    sub = subscription()
    times = [NOW - 5, NOW + 1, NOW - 20, NOW]
    waiting = [await stored(store, sub, now) for now in times]
    found = await store.due(sub.subscription_id, NOW, 10)
    assert [d.webhook_id for d in found] == [waiting[i].webhook_id for i in (2, 0, 3)]
    assert len(await store.due(sub.subscription_id, NOW, 2)) == 2
    assert len(await store.due(sub.subscription_id, NOW + 1, 10)) == 4
    assert await store.due(subscription().subscription_id, NOW, 10) == []


async def test_an_attempt_is_logged_and_moves_the_delivery(store):
    sub = subscription()
    delivery = await stored(store, sub)
    answer = Answer(503, 0.25, problem="answered 503", beginning=b"...")
    failed = await store.change(
        delivery.attempted(answer, Again(300.0), NOW, NOW + 0.25, "try later")
    )
    assert await store.delivery(sub.subscription_id, delivery.webhook_id) == failed
    assert (failed.state, failed.due_at) == (DeliveryState.PENDING, NOW + 300.25)
    timeout = Answer(None, 20.0, "timeout", "no answer within 20 s")
    failed = await store.change(failed.attempted(timeout, Again(5.0), NOW + 300.25, NOW + 320))
    first, second = failed.log
    assert (first.number, first.status, first.snippet) == (1, 503, "try later")
    assert (second.number, second.status, second.error) == (2, None, "timeout")
    assert await store.due(sub.subscription_id, NOW + 320, 1) == []
    assert await store.due(sub.subscription_id, NOW + 325, 1) == [failed]


async def test_a_delivery_that_has_changed_meanwhile_is_not_overwritten(store):
    sub = subscription()
    delivery = await stored(store, sub)
    resent = await store.change(delivery.resent(NOW + 1, POLICY))
    with pytest.raises(ChangedError):
        await store.change(delivery.attempted(Answer(200, 0.1), Delivered(), NOW, NOW))
    assert await store.delivery(sub.subscription_id, delivery.webhook_id) == resent
    with pytest.raises(ChangedError):
        await store.change(replace(delivery, webhook_id="never stored"))


async def test_a_resent_delivery_keeps_its_event(store):
    sub = subscription()
    delivery = await stored(store, sub)
    resent = await store.change(delivery.resent(NOW + 20 * 86400, POLICY))
    assert resent.expires_at == pytest.approx(NOW + 50 * 86400, abs=1)
    assert await store.event(delivery.webhook_id) is not None


async def test_recent_deliveries_come_in_the_order_of_their_last_change(store):
    sub = subscription()
    waiting = [await stored(store, sub, NOW + i) for i in range(4)]
    touched = await store.change(
        waiting[0].attempted(Answer(200, 0.1), Delivered(), NOW + 9, NOW + 9)
    )
    order = [waiting[1], waiting[2], waiting[3], touched]
    newest = [d async for d in store.recent(sub.subscription_id)]
    assert [d.webhook_id for d in newest] == [d.webhook_id for d in reversed(order)]
    later = [d async for d in store.recent(sub.subscription_id, since=NOW + 3, newest_first=False)]
    assert later == [waiting[3], touched]


async def test_a_long_list_is_read_in_pages_to_its_end(store):
    sub = subscription()
    for i in range(130):
        await stored(store, sub, NOW + i)
    assert len([d async for d in store.recent(sub.subscription_id)]) == 130


async def test_a_lane_has_one_owner_at_a_time(store):
    sub = f"wh_{uuid.uuid4().hex}"
    assert await store.lease(sub, "a", NOW, 60) == Lane()
    assert await store.lease(sub, "b", NOW + 59, 60) is None
    assert await store.lease(sub, "a", NOW + 59, 60) == Lane()  # renewed
    assert await store.lease(sub, "b", NOW + 118, 60) is None
    await store.release(sub, "a", Lane(NOW + 200, NOW + 1))
    assert await store.lease(sub, "b", NOW + 118, 60) == Lane(NOW + 200, NOW + 1)


async def test_a_lane_of_a_dead_owner_is_free_after_its_lease_and_the_dead_change_nothing(store):
    sub = f"wh_{uuid.uuid4().hex}"
    await store.lease(sub, "a", NOW, 60)
    assert await store.lease(sub, "b", NOW + 60, 60) == Lane()
    await store.release(sub, "a", Lane(NOW + 999, NOW))
    assert await store.lane(sub) == Lane()
    assert await store.lease(sub, "c", NOW + 61, 60) is None
    await store.release(sub, "b", Lane())
    assert await store.lane(sub) == Lane()
