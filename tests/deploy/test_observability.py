"""Alarms, runbooks and the dashboard, on the template: the emulator evaluates none of them."""

import json
import re

import pytest

from tests.deploy.templates import ROOT, load, properties
from worker.adapters.metrics import METRICS, SERVICE

OURS = {"Fn::Sub": "AgentWorker/${Stage}"}
RUNBOOK = re.compile(r"docs/runbooks/[\w-]+\.md$")
TEMPLATE = load(ROOT / "infra" / "observability.yml")
ALARMS = sorted(
    name for name, one in TEMPLATE["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm"
)
BODY = TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]


def metrics_of(alarm):
    """(namespace, name, dimensions) of all that an alarm looks at."""
    stats = [
        item["MetricStat"]["Metric"] for item in alarm.get("Metrics", ()) if "MetricStat" in item
    ]
    return [(m["Namespace"], m["MetricName"], m["Dimensions"]) for m in (stats or [alarm])]


def test_there_is_an_alarm_for_each_thing_that_needs_a_person():
    watched = {name for one in ALARMS for _, name, _ in metrics_of(properties(TEMPLATE, one))}
    assert {
        "ApproximateNumberOfMessagesVisible",  # of the dead-letter queue
        "ApproximateAgeOfOldestMessage",
        "StuckJobs",
        "JobsFailed",
        "Errors",
        "WebhookFailures",
        "CostUSD",
    } <= watched


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_names_a_runbook_that_begins_with_the_command_to_run(name):
    path = RUNBOOK.search(properties(TEMPLATE, name)["AlarmDescription"])[0]
    page = (ROOT / path).read_text()
    assert re.match(r"# .+\n\n```sh\nagent-worker .+\n```\n", page), path
    index = (ROOT / "docs" / "runbooks" / "README.md").read_text()
    assert f"[{name}]({path.rpartition('/')[2]})" in index


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_sent_where_the_deployer_says_and_silence_is_no_alarm(name):
    alarm = properties(TEMPLATE, name)
    to = {"Fn::If": ["AlarmsAreSent", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}
    assert alarm["AlarmActions"] == [to]
    assert alarm["TreatMissingData"] == "notBreaching"
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_looks_at_metrics_that_the_worker_writes(name):
    written = {metric.name for metrics in METRICS.values() for metric in metrics}
    for namespace, metric, dimensions in metrics_of(properties(TEMPLATE, name)):
        if namespace == OURS:
            assert metric in written
            assert dimensions == [{"Name": "service", "Value": SERVICE}]
        else:
            assert namespace in {"AWS/SQS", "AWS/Lambda"}


def test_the_dead_letter_alarm_watches_the_dead_letter_queue():
    [(_, _, dimensions)] = metrics_of(properties(TEMPLATE, "DeadLettersAlarm"))
    where = {"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}
    assert dimensions == [{"Name": "QueueName", "Value": where}]


def test_the_dashboard_is_json_and_shows_every_alarm_and_each_of_our_metrics():
    widgets = json.loads(re.sub(r"\$\{[\w:.]+\}", "x", BODY))["widgets"]
    assert all(widget["width"] + widget["x"] <= 24 for widget in widgets)
    for name in ALARMS:
        assert f"${{{name}.Arn}}" in BODY
    shown = set(re.findall(r'"(\w+)"', BODY)) | set(re.findall(r'MetricName=\\"(\w+)', BODY))
    written = {metric.name for metrics in METRICS.values() for metric in metrics}
    assert written - shown == {"SweptEvents", "WebhookTime"}


@pytest.mark.integration
def test_the_functions_write_where_the_alarms_look(deployment):
    for function in ("Worker", "Sweeper", "Webhooks", "WebhookSweeper"):
        variables = properties(deployment, f"{function}LambdaFunction")["Environment"]["Variables"]
        assert variables["METRICS_NAMESPACE"] == OURS
    assert {*ALARMS, "Dashboard"} <= deployment["Resources"].keys()
