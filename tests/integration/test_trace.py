"""One trace from the bot to the model and to the subscriber."""

import json

import pytest

from tests.integration.conftest import Bot, running

pytestmark = pytest.mark.integration

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_sampled_trace_reaches_the_model_and_the_event_and_another_does_not(own, model):
    bot = Bot(own)
    async with running(own):
        traced = await bot.result(
            bot.send("follow me", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        )
        untraced = await bot.result(bot.send("let me be", chat="another"))
    asked = [r for r in model.requests if "follow me" in json.dumps(r["body"])]
    assert asked
    for request in asked:
        assert request["headers"]["traceparent"].split("-")[1] == TRACE
    assert traced.traceparent.split("-")[1] == TRACE
    assert traced.traceparent.split("-")[2] != "00f067aa0ba902b7"
    assert untraced.traceparent.split("-")[3] == "00"
    for request in [r for r in model.requests if "let me be" in json.dumps(r["body"])]:
        assert "traceparent" not in request["headers"]
