"""Webhooks from the event to the subscriber, on the in-memory ports: every ending, over days."""

import asyncio
import itertools
import json
import random
from collections import Counter
from email.utils import formatdate

import pytest

from contracts import InvalidSignature, parse_event, verify_webhook
from tests.pipeline.webhook_world import WebhookWorld
from worker.webhooks import service
from worker.webhooks.consumer import accept
from worker.webhooks.delivery import DeliveryState
from worker.webhooks.errors import InvalidSubscriptionError
from worker.webhooks.event import wake_body
from worker.webhooks.lane import deliver
from worker.webhooks.policy import DAY, DELAYS, HOUR, Answer

REFUSED = Answer(None, 0.0, "unreachable", "cannot be reached")


@pytest.fixture
def world():
    return WebhookWorld()


async def test_a_subscriber_gets_the_event_as_it_is_signed_and_once(world):
    sub = await world.subscribe()
    event_id = world.publish(traceparent="00-a-b-01")
    await world.work()
    assert world.received(sub) == [event_id]
    [(_, headers, body)] = world.sender.requests
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert headers["webhook-id"] == event_id
    assert headers["traceparent"] == "00-a-b-01"
    assert json.loads(body)["data"]["response"] == "the answer is 42"
    [delivery] = world.deliveries(sub)
    assert delivery.state is DeliveryState.DELIVERED
    assert [(line.number, line.status) for line in delivery.log] == [(1, 200)]


async def test_an_event_that_sqs_hands_out_twice_is_sent_once(world):
    sub = await world.subscribe()
    world.publish()
    (_, body) = world.queue.messages[0]
    await world.work()
    world.queue.send(body)
    await world.work()
    assert len(world.received(sub)) == 1


async def test_each_subscriber_gets_what_its_filters_let_pass_and_nothing_else(world):
    everything = await world.subscribe(types=("*",))
    outcomes = await world.subscribe()
    acme = await world.subscribe(tenants=("acme",), types=("agent.job.*",))
    chat = await world.subscribe(chats=("7",))
    ids = [
        world.publish(),
        world.publish("agent.job.progress"),
        world.publish(tenant="other", chat="7"),
        world.publish("agent.job.rejected", tenant=None, chat=None),
        world.publish("agent.job.of_a_later_version"),
    ]
    await world.work()
    assert world.received(everything) == ids
    assert world.received(outcomes) == [ids[0], ids[2], ids[3]]
    assert world.received(acme) == [ids[0], ids[1], ids[4]]
    assert world.received(chat) == [ids[2]]


async def test_a_subscriber_that_is_down_is_tried_on_the_specification_s_schedule(world):
    sub = await world.subscribe(REFUSED)
    times = []
    world.script(sub.url, lambda headers, body: times.append(world.clock.now()) or REFUSED)
    world.publish()
    await world.work()
    await world.pass_time(82 * HOUR)
    assert len(times) == len(DELAYS) == 10
    for number, (before, after) in enumerate(itertools.pairwise(times), 1):
        # Within a twentieth of the delay, and as late as a sweep may come.
        assert 0.95 * DELAYS[number] <= after - before <= 1.05 * DELAYS[number] + 61
    assert 71 * HOUR < times[-1] - times[0] < 80 * HOUR
    [delivery] = world.deliveries(sub)
    assert delivery.state is DeliveryState.FAILED
    assert [line.error for line in delivery.log] == ["unreachable"] * 10


async def test_what_could_not_be_delivered_is_in_the_dead_letter_queue_with_its_reason(world):
    sub = await world.subscribe(500)
    event_id = world.publish()
    await world.work()
    await world.pass_time(84 * HOUR, step=600)
    [(body, attributes)] = world.queue.dead_letters
    assert json.loads(body)["id"] == event_id
    assert attributes["dead_letter_reason"] == "attempts_exhausted"
    assert attributes["subscription_id"] == sub.subscription_id
    assert attributes["webhook_id"] == event_id


async def test_a_subscriber_that_is_down_for_hours_gets_everything_when_it_is_back(world):
    sub = await world.subscribe(REFUSED)
    ids = []
    for _ in range(8):
        ids.append(world.publish())
        await world.work()
        await world.pass_time(HOUR, step=300)
    assert set(world.sender.requests and world.received(sub)) == set(ids)
    world.sender.requests.clear()
    world.script(sub.url, 200)
    await world.pass_time(16 * HOUR, step=300)
    assert Counter(world.received(sub)) == Counter(ids)  # each once
    assert {d.state for d in world.deliveries(sub)} == {DeliveryState.DELIVERED}
    assert (await world.store.lane(sub.subscription_id)).failing_since is None


async def test_every_attempt_is_signed_anew_and_has_the_same_id(world):
    sub = await world.subscribe(500)
    event_id = world.publish()
    await world.work()
    await world.pass_time(8 * 60)
    assert world.received(sub) == [event_id] * 3
    assert len({headers["webhook-id"] for _, headers, _ in world.sender.requests}) == 1
    assert len({headers["webhook-timestamp"] for _, headers, _ in world.sender.requests}) == 3
    first = world.sender.requests[0]
    with pytest.raises(InvalidSignature):  # a recorded request is stale when it is sent again
        verify_webhook(
            first[1],
            first[2],
            world.secrets[sub.subscription_id],
            now=world.clock.now(),
        )


async def test_an_event_id_with_a_full_stop_becomes_a_webhook_id_without(world):
    sub = await world.subscribe()
    world.publish(id="update.8812/completed")
    await world.work()
    [(_, headers, _)] = world.sender.requests
    assert headers["webhook-id"] == "update%2E8812/completed"
    assert world.received(sub) == ["update.8812/completed"]


async def test_retry_after_is_honoured_and_the_subscriber_left_alone_meanwhile(world):
    busy = Answer(429, 0.1, problem="answered 429", retry_after="1800")
    sub = await world.subscribe(busy)
    first = world.publish()
    await world.work()
    second = world.publish()
    await world.work()
    await world.pass_time(1700)
    assert world.received(sub) == [first]
    world.script(sub.url, 200)
    await world.pass_time(400)
    assert sorted(world.received(sub)) == sorted([first, first, second])


async def test_resuming_sends_at_once_to_a_subscriber_that_had_asked_for_a_day(world):
    sub = await world.subscribe(Answer(503, 0.1, retry_after="86400"))
    first = world.publish()
    await world.work()
    second = world.publish()
    await world.work()
    assert world.received(sub) == [first]
    world.script(sub.url, 200)
    await service.resume(sub.subscription_id, world.ports)
    await world.work()
    assert world.received(sub) == [first, second]  # the first one waits for its own retry


async def test_retry_after_may_be_a_date(world):
    when = formatdate(world.clock.now() + 600, usegmt=True)
    sub = await world.subscribe(Answer(503, 0.1, retry_after=when))
    world.publish()
    await world.work()
    await world.pass_time(590, step=10)
    assert len(world.received(sub)) == 1
    await world.pass_time(80, step=10)
    assert len(world.received(sub)) == 2


async def test_a_throttling_answer_stops_the_others_of_that_subscriber_for_a_moment(world):
    sub = await world.subscribe(504)
    other = await world.subscribe(200)
    for _ in range(20):
        world.publish()
    await world.work()
    assert len(world.received(sub)) == world.ports.policy.concurrency
    assert len(world.received(other)) == 20
    world.script(sub.url, 200)
    await world.pass_time(400, step=5)
    assert {d.state for d in world.deliveries(sub)} == {DeliveryState.DELIVERED}


async def test_410_disables_the_subscription_at_once_and_everybody_is_told(world):
    sub = await world.subscribe(410, tenants=("acme",))
    watcher = await world.subscribe(200, types=("agent.webhook.*",))
    world.publish()
    await world.work()
    stored = await world.store.subscription(sub.subscription_id)
    assert (stored.disabled, stored.announcement) == ("gone", None)
    [published] = world.publisher.events
    event = parse_event(published)
    assert (event.type, event.data.reason) == ("agent.webhook.disabled", "gone")
    assert (event.subject, event.tenantid) == (sub.subscription_id, "acme")
    world.queue.send(json.dumps({"detail": json.loads(published)}))  # as the bus does
    world.publish()
    await world.work()
    assert len(world.received(sub)) == 1
    assert world.received(watcher) == [event.id]


async def test_a_subscription_is_disabled_after_days_without_a_success_and_not_before(world):
    sub = await world.subscribe(500)
    for _ in range(11):
        world.publish()
        await world.work()
        await world.pass_time(DAY / 2, step=900)
        if world.publisher.events:
            break
    [published] = world.publisher.events
    event = parse_event(published)
    assert event.data.reason == "failing"
    assert event.data.last_status == 500
    days = (event.time - event.data.failing_since).total_seconds() / DAY
    assert 5 <= days < 5.6
    stored = await world.store.subscription(sub.subscription_id)
    assert stored.disabled == "failing"


async def test_one_success_is_enough_to_start_counting_anew(world):
    sub = await world.subscribe(500)
    for day in range(12):
        world.script(sub.url, 200 if day % 4 == 3 else 500)
        world.publish()
        await world.work()
        await world.pass_time(DAY, step=1800)
    assert world.publisher.events == []
    assert (await world.store.subscription(sub.subscription_id)).enabled


async def test_a_resumed_subscription_is_given_as_long_again(world):
    sub = await world.subscribe(500)
    world.publish()
    await world.work()
    await world.pass_time(6 * DAY, step=3600)
    world.publish()
    await world.work()
    assert len(world.publisher.events) == 1
    await service.resume(sub.subscription_id, world.ports)
    await world.work()
    await world.pass_time(2 * DAY, step=3600)
    assert (await world.store.subscription(sub.subscription_id)).enabled
    await world.pass_time(4 * DAY, step=3600)
    world.publish()
    await world.work()
    assert len(world.publisher.events) == 2
    assert len({json.loads(event)["id"] for event in world.publisher.events}) == 2


class Unavailable:
    """A publisher that is down once."""

    def __init__(self, events):
        self.events, self.down = events, True

    async def publish(self, event):
        from worker.domain.errors import UnavailableError

        if self.down:
            self.down = False
            raise UnavailableError("sns", "down")
        self.events.append(event)


async def test_a_disabling_that_could_not_be_told_is_told_by_a_sweep(world):
    import dataclasses

    published = []
    world.ports = dataclasses.replace(world.ports, publisher=Unavailable(published))
    sub = await world.subscribe(410)
    world.publish()
    await world.work()
    assert published == []
    assert (await world.store.subscription(sub.subscription_id)).disabled == "gone"
    await world.pass_time(61)
    assert [json.loads(event)["type"] for event in published] == ["agent.webhook.disabled"]
    await world.pass_time(300)
    assert len(published) == 1


async def test_nothing_is_sent_to_a_paused_subscriber_and_nothing_of_it_is_lost(world):
    sub = await world.subscribe(500)
    waiting = world.publish()
    await world.work()
    await service.pause(sub.subscription_id, world.ports)
    missed = world.publish()
    await world.pass_time(HOUR)
    assert len(world.received(sub)) == 1
    world.script(sub.url, 200)
    await service.resume(sub.subscription_id, world.ports)
    await world.work()
    assert world.received(sub) == [waiting, waiting]
    now = world.clock.now()
    sent = await service.resend_between(sub.subscription_id, now - DAY, now, world.ports)
    await world.work()
    assert (sent, world.received(sub)[-1]) == (1, missed)


async def test_a_delivery_is_resent_by_id_even_if_it_has_arrived(world):
    sub = await world.subscribe()
    event_id = world.publish()
    await world.work()
    await service.resend(sub.subscription_id, event_id, world.ports)
    await world.work()
    assert world.received(sub) == [event_id, event_id]
    with pytest.raises(InvalidSubscriptionError, match="has no delivery 'other'"):
        await service.resend(sub.subscription_id, "other", world.ports)


async def test_what_failed_in_a_time_range_is_resent_and_what_arrived_is_not(world):
    sub = await world.subscribe(200)
    start = world.clock.now()
    arrived = world.publish()
    await world.work()
    world.script(sub.url, 500)
    lost = [world.publish() for _ in range(3)]
    await world.work()
    await world.pass_time(84 * HOUR, step=1800)
    before = len(world.received(sub))
    world.script(sub.url, 200)
    late = world.publish()
    await world.work()
    until = start + HOUR
    assert await service.resend_between(sub.subscription_id, start, until, world.ports) == 3
    await world.work()
    assert sorted(world.received(sub)[before:]) == sorted([late, *lost])
    assert arrived not in world.received(sub)[before:]
    everything = frozenset(DeliveryState)
    assert (
        await service.resend_between(sub.subscription_id, start, until, world.ports, everything)
        == 4
    )


async def test_a_test_goes_to_one_subscription_once_whatever_its_filters_are(world):
    sub = await world.subscribe(500, tenants=("acme",), chats=("9",))
    other = await world.subscribe(types=("*",))
    webhook_id = await service.send_test(sub.subscription_id, world.ports)
    await world.work()
    await world.pass_time(DAY, step=3600)
    assert len(world.received(sub)) == 1
    assert world.received(other) == []
    [delivery] = world.deliveries(sub)
    assert (delivery.webhook_id, delivery.state) == (webhook_id, DeliveryState.FAILED)
    assert world.queue.dead_letters == []
    assert parse_event(world.sender.requests[0][2]).type == "agent.webhook.test"


async def test_while_a_secret_is_rotated_both_sign_and_then_the_new_one_alone(world):
    sub = await world.subscribe()
    old = world.secrets[sub.subscription_id]
    new = await service.rotate(sub.subscription_id, DAY, world.ports)
    world.publish()
    await world.work()
    await world.pass_time(DAY + 1, step=3600)
    world.publish()
    await world.work()
    during, afterwards = world.sender.requests
    for secret in (old, new):
        verify_webhook(during[1], during[2], secret, now=float(during[1]["webhook-timestamp"]))
    now = float(afterwards[1]["webhook-timestamp"])
    verify_webhook(afterwards[1], afterwards[2], new, now=now)
    with pytest.raises(InvalidSignature):
        verify_webhook(afterwards[1], afterwards[2], old, now=now)


async def test_a_secret_that_is_known_to_others_can_be_replaced_at_once(world):
    sub = await world.subscribe()
    old = world.secrets[sub.subscription_id]
    await service.rotate(sub.subscription_id, 0, world.ports)
    world.publish()
    await world.work()
    [(_, headers, body)] = world.sender.requests
    with pytest.raises(InvalidSignature):
        verify_webhook(headers, body, old, now=world.clock.now())


async def test_what_is_no_event_goes_to_the_dead_letter_queue(world):
    for body in ("no", "[]", "{}", '{"detail": {"specversion": "1.0", "id": 1}}'):
        world.queue.send(body)
    await world.work()
    reasons = [attributes["dead_letter_reason"] for _, attributes in world.queue.dead_letters]
    assert reasons == ["invalid_json", "invalid_event", "invalid_event", "invalid_event"]


async def test_a_wake_of_a_subscription_that_is_gone_is_no_error(world):
    sub = await world.subscribe(500)
    world.publish()
    await world.work()
    await world.store.remove(sub.subscription_id)
    world.queue.send(wake_body(sub.subscription_id))
    await world.pass_time(HOUR)
    assert len(world.received(sub)) == 1


async def test_no_log_holds_a_secret_or_what_the_event_says(world):
    def echo(headers, body):
        return Answer(400, 0.1, problem="answered 400", beginning=body.encode())

    def blab(headers, body):
        secret = world.secrets[blabbing.subscription_id]
        text = f"bad signature {headers['webhook-signature']}, expected one by {secret}"
        return Answer(401, 0.1, problem="answered 401", beginning=text.encode())

    echoing = await world.subscribe(echo)
    blabbing = await world.subscribe(blab)
    world.publish()
    await world.work()
    kept = repr(
        [
            [line for delivery in world.deliveries(sub) for line in delivery.log]
            for sub in (echoing, blabbing)
        ]
    )
    assert "left out: it repeats the event" in kept
    assert "bad signature [secret], expected one by [secret]" in kept
    for leak in ("the answer is", "whsec_", "v1,", *world.secrets.values()):
        assert leak not in kept + repr(world.journal.steps) + repr(world.store.saved)


async def test_two_workers_at_one_lane_do_not_send_twice(world):
    sub = await world.subscribe()
    for _ in range(50):
        world.publish()
        await accept(world.queue.receive(), world.ports)
    await asyncio.gather(*(deliver(sub.subscription_id, world.ports) for _ in range(5)))
    assert len(world.received(sub)) == len(set(world.received(sub))) == 50


async def test_a_worker_that_died_in_the_middle_is_followed_by_another(world):
    async def hangs(headers, body):
        await world.clock.sleep(1e9)

    sub = await world.subscribe(hangs)
    event_id = world.publish()
    await world.work()
    [lane] = world.lanes
    lane.get_loop().call_soon(lane.cancel)
    await world.settle()
    world.script(sub.url, 200)
    await world.pass_time(130)
    assert world.received(sub) == [event_id, event_id]
    [delivery] = world.deliveries(sub)
    assert delivery.state is DeliveryState.DELIVERED


async def test_a_delivery_stored_while_the_lane_s_owner_is_about_to_leave_is_not_forgotten(world):
    sub = await world.subscribe()
    world.publish()
    await accept(world.queue.receive(), world.ports)
    release = world.store.release
    late = []

    async def at_the_last_moment(subscription_id, owner, lane):
        if not late:
            late.append(world.publish())
            woken = await accept(world.queue.receive(), world.ports)
            await deliver(woken[0], world.ports)  # finds the lane taken
            assert len(world.received(sub)) == 1
        await release(subscription_id, owner, lane)

    world.store.release = at_the_last_moment
    await deliver(sub.subscription_id, world.ports)
    assert world.received(sub)[1:] == late


async def test_a_lane_that_is_told_to_stop_leaves_the_rest_to_another(world):
    sub = await world.subscribe()
    for _ in range(20):
        world.publish()
        await accept(world.queue.receive(), world.ports)
    answers = iter([True, True, False])
    await deliver(sub.subscription_id, world.ports, lambda: next(answers, False))
    assert len(world.received(sub)) == world.ports.policy.concurrency
    await world.work()
    assert len(world.received(sub)) == 20


async def test_a_subscriber_that_hangs_delays_nobody_but_itself(world):
    async def hangs(headers, body):
        await world.clock.sleep(20)
        return Answer(None, 20.0, "timeout", "no answer within 20 s")

    hanging = [await world.subscribe(hangs) for _ in range(5)]
    fine = await world.subscribe(200)
    for _ in range(100):
        world.publish()
    await world.work()  # no time has passed
    assert len(world.received(fine)) == 100
    for sub in hanging:
        assert world.sender.most_at_once[sub.url] == world.ports.policy.concurrency


async def test_ten_thousand_deliveries_with_a_quarter_failing_are_all_accounted_for():
    world = WebhookWorld()
    world.sender.kept = False
    got = Counter()
    chance = random.Random(4)

    def flaky(url):
        def answer(headers, body):
            if chance.random() < 0.25:
                return chance.choice([REFUSED, Answer(500, 0.1), Answer(302, 0.1)])
            got[url, headers["webhook-id"]] += 1
            return Answer(204, 0.01)

        return answer

    subs = [await world.subscribe() for _ in range(10)]
    for sub in subs[1:]:
        world.script(sub.url, flaky(sub.url))
    world.script(subs[0].url, REFUSED)
    events = [world.publish() for _ in range(1000)]
    await world.work()
    at_once = [d.state for sub in subs[1:] for d in world.deliveries(sub)]
    assert len(at_once) == 9000
    # Three quarters at the first attempt, before any time has passed.
    assert 0.72 < at_once.count(DeliveryState.DELIVERED) / 9000 < 0.78
    await world.pass_time(88 * HOUR, step=1800)
    for sub in subs[1:]:
        delivered = {event for url, event in got if url == sub.url}
        failed = {d.webhook_id for d in world.deliveries(sub) if d.state is DeliveryState.FAILED}
        assert delivered | failed == set(events)
        assert not delivered & failed
    assert set(got.values()) == {1}  # nothing came twice
    assert {d.state for d in world.deliveries(subs[0])} == {DeliveryState.FAILED}
    buried = Counter(a["subscription_id"] for _, a in world.queue.dead_letters)
    assert buried[subs[0].subscription_id] == 1000
    assert max(world.sender.most_at_once.values()) == world.ports.policy.concurrency
