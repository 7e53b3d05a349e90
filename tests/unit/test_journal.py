"""What the worker tells of itself: a line per step, and the metrics that follow from them."""

import asyncio
import io
import json
import uuid

import pytest
from aws_lambda_powertools import Logger

from worker.adapters.journal import PowertoolsJournal
from worker.adapters.metrics import METRICS, Metrics
from worker.domain.trace import job_trace

TRACE = job_trace("j-1", None)


@pytest.fixture
def log():
    return io.StringIO()


@pytest.fixture
def journal(log):
    return writing_to(log, PowertoolsJournal(metrics=Metrics("Test")))


def writing_to(log, journal):
    """Powertools keeps one logger per service, with the output that it was made for."""
    journal._logger = Logger(service=uuid.uuid4().hex, level="INFO", stream=log)
    journal.begin()
    return journal


def told(log, capsys):
    """Log lines, and metric values by name (a repeated name adds up)."""
    lines, metrics = [json.loads(line) for line in log.getvalue().splitlines()], {}
    for text in capsys.readouterr().out.splitlines():
        line = json.loads(text)
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
            metrics[metric["Name"]] = metrics.get(metric["Name"], 0) + sum(line[metric["Name"]])
    return lines, metrics


def test_each_line_of_a_job_names_it_and_its_span_and_how_long_the_step_took(journal, log, capsys):
    journal.begin(TRACE, job_id="j-1", chat="default/1")
    journal.note("claim", result="Claim", attempt=2, waited=1.5)
    journal.note("restore", warm=True)
    [claim, restore], metrics = told(log, capsys)
    for line in (claim, restore):
        assert (line["job_id"], line["chat"], line["attempt"]) == ("j-1", "default/1", 2)
        assert line["trace"] == TRACE.trace_id
        assert line["parent_span"] == TRACE.span_id
        assert line["seconds"] >= 0
    assert claim["span"] != restore["span"]
    assert metrics["QueueWait"] == 1.5
    assert metrics["WarmTurns"] == 1
    assert "ColdTurns" not in metrics


async def test_jobs_side_by_side_do_not_lend_each_other_their_names(journal, log, capsys):
    async def work(job_id):
        journal.begin(job_id=job_id)
        await asyncio.sleep(0)
        await asyncio.create_task(step())

    async def step():
        journal.note("run", verdict="Again", code="agent_died", cost_usd=0.25)

    await asyncio.gather(work("a"), work("b"))
    journal.note("stopped")
    lines, metrics = told(log, capsys)
    assert [line.get("job_id") for line in lines] == ["a", "b", None]
    assert metrics["CostUSD"] == 0.5
    assert metrics["Retries"] == 2


def test_a_retry_is_counted_by_its_reason(journal, log, capsys):
    journal.note("run", verdict="Again", code="model_unavailable", cost_usd=0.0)
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    [retries] = [line for line in lines if "Retries" in line]
    assert retries["code"] == "model_unavailable"
    assert ["code", "service"] in retries["_aws"]["CloudWatchMetrics"][0]["Dimensions"]


def test_a_defect_is_told_without_its_text(journal, log, capsys):
    journal.failure("internal_error", ValueError("what the user said"))
    output = log.getvalue() + capsys.readouterr().out
    assert "what the user said" not in output
    assert "ValueError" in output
    assert "Defects" in output


def test_without_metrics_there_are_lines_alone(log, capsys):
    writing_to(log, PowertoolsJournal()).note("lease_lost")
    lines, metrics = told(log, capsys)
    assert len(lines) == 1
    assert not metrics


def test_each_metric_has_one_name_and_one_unit():
    units = {}
    for metrics in METRICS.values():
        for metric in metrics:
            assert units.setdefault(metric.name, metric.unit) == metric.unit
