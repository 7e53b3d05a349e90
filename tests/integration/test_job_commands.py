"""`jobs cancel` and `jobs retry`, on a worker with the real CLI."""

import asyncio
import json
import subprocess
import sys

import pytest

from tests.integration.conftest import Bot, running, until

pytestmark = pytest.mark.integration


async def agent_worker(environ, *arguments, status=0):
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "worker", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


async def test_a_running_job_is_cancelled_and_its_time_line_says_who_asked(environ, bot, tmp_path):
    begun = tmp_path / "begun"
    job = bot.send(f"steps: run touch {begun}; sleep 300")
    await until(begun.exists)
    assert "is cancelled" in await agent_worker(environ, "jobs", "cancel", job, "--wait")
    shown = json.loads(await agent_worker(environ, "jobs", "show", job, "--json"))
    assert shown["outcome"] == "cancelled"
    assert any("cancellation asked for by" in moment["what"] for moment in shown["timeline"])
    assert not any(moment["error"] for moment in shown["timeline"])
    again = await agent_worker(environ, "jobs", "cancel", job)
    assert "is cancelled" in again


async def test_a_job_that_has_ended_is_not_cancelled(environ, bot):
    job = bot.send("hello")
    await bot.result(job)
    said = await agent_worker(environ, "jobs", "cancel", job, status=1)
    assert "completed" in said
    assert not (await agent_worker(environ, "jobs", "show", job)).count("asked")


async def test_a_failed_job_is_run_again_from_its_dead_letter(own):
    bot = Bot(own)
    async with running(own, MAX_ATTEMPTS="1"):
        job = bot.send("fail here once [[status 529 times 1]]")
        failed = await bot.result(job)
        assert failed.type == "agent.job.failed"
        await until(lambda: letters(bot) == 1)
        said = await agent_worker(own, "jobs", "retry", job)
        assert "dry run" in said
        assert (await bot.result(job)).type == "agent.job.failed"
        await agent_worker(own, "jobs", "retry", job, "--yes")
        await until(lambda: bot.record(job)["state"]["S"] == "published")
        await until(lambda: letters(bot) == 0)
    shown = json.loads(await agent_worker(own, "jobs", "show", job, "--json"))
    assert (shown["state"], shown["attempt"]) == ("published", 2)
    words = [moment["what"] for moment in shown["timeline"]]
    assert any("replayed" in word or "sent" in word for word in words), words
    refused = await agent_worker(own, "jobs", "retry", job, status=1)
    assert "published" in refused


async def test_the_result_of_a_job_is_printed_as_a_whole(environ, bot):
    job = bot.send("[[long 300000]]")
    await bot.result(job)
    said = await agent_worker(environ, "jobs", "result", job)
    assert len(said) >= 300_000


def letters(bot):
    attributes = bot._sqs.get_queue_attributes(
        QueueUrl=bot.environ["DLQ_URL"], AttributeNames=["All"]
    )["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"]) + int(
        attributes["ApproximateNumberOfMessagesNotVisible"]
    )
