"""The function, its mapping and its rights, as `osls package` writes them."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.conftest import UPDATE_TEMPLATE
from tests.deploy.templates import (
    RESOURCES,
    ROOT,
    identity_statements,
    load,
    parameter,
    properties,
)
from worker.entrypoints.lambda_handler import REPLY_MARGIN_SECONDS
from worker.entrypoints.webhook_lambda import REPLY_MARGIN_SECONDS as WEBHOOK_MARGIN_SECONDS
from worker.settings import Settings
from worker.webhook_settings import WebhookSettings

pytestmark = pytest.mark.integration

WORKER_ACTIONS = {
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ChangeMessageVisibility",
    "sqs:SendMessage",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:Query",
    "s3:GetObject",
    "s3:PutObject",
    "s3:ListBucket",
    "sns:Publish",
    "events:PutEvents",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "secretsmanager:GetSecretValue",
    "sts:AssumeRole",
}
DESK = {"deadletters.py", "deskrows.py", "documents.py"}
"""Modules that only an operator's commands use, with the operator's own rights."""
WEBHOOK_ACTIONS = {
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:SendMessage",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:Query",
    "sns:Publish",
    "events:PutEvents",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}
BEDROCK_ACTIONS = {
    "bedrock:InvokeModel",
    "bedrock:InvokeModelWithResponseStream",
    "bedrock:ListInferenceProfiles",
}


@pytest.fixture(scope="module")
def function(deployment):
    return properties(deployment, "WorkerLambdaFunction")


@pytest.fixture(scope="module")
def sweeper(deployment):
    return properties(deployment, "SweeperLambdaFunction")


@pytest.fixture(scope="module")
def mapping(deployment):
    return properties(deployment, "WorkerEventSourceMappingSQSJobQueue")


def test_one_message_at_a_time_and_failures_one_by_one(mapping):
    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["JobQueue", "Arn"]}
    assert "MaximumBatchingWindowInSeconds" not in mapping  # FIFO takes none


def test_concurrency_is_limited_at_the_mapping_by_stage(mapping, packaged):
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 5}
    prod = load(packaged("prod") / UPDATE_TEMPLATE)
    assert properties(prod, "WorkerEventSourceMappingSQSJobQueue")["ScalingConfig"] == {
        "MaximumConcurrency": 50
    }
    assert parameter(prod, "Stage") == "prod"
    assert parameter(prod, "AuthTokenSecret") == "agent-worker/prod/auth-token"


def test_a_message_stays_hidden_at_least_as_long_as_the_function_may_run(deployment, function):
    visibility = properties(deployment, "JobQueue")["VisibilityTimeout"]
    assert parameter(deployment, visibility["Ref"]) >= function["Timeout"] == 900


def test_a_turn_is_interrupted_before_the_function_ends(function):
    # A longer job goes on in the next invocation; this is what a slice is cut short by.
    assert 10 <= REPLY_MARGIN_SECONDS < function["Timeout"] / 10


def test_the_sweeper_runs_every_minute_with_the_worker_s_settings(deployment, function, sweeper):
    [command] = sweeper["ImageConfig"]["Command"]
    module, _, name = command.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    assert sweeper["Code"] == function["Code"]
    assert sweeper["Environment"] == function["Environment"]
    rule = properties(deployment, "SweeperEventsRuleSchedule1")
    assert rule["ScheduleExpression"] == "rate(1 minute)"
    assert sweeper["Timeout"] <= 60


def test_the_function_runs_the_handler_from_an_image_named_by_digest(function):
    [command] = function["ImageConfig"]["Command"]
    module, _, name = command.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    assert "@sha256:" in function["Code"]["ImageUri"]
    assert function["Architectures"] == ["arm64"]
    assert function["MemorySize"] >= 2048
    assert function["EphemeralStorage"]["Size"] >= 2048


def test_every_required_setting_is_given(function):
    required = {
        name.upper() for name, field in Settings.model_fields.items() if field.is_required()
    }
    assert required <= set(function["Environment"]["Variables"])
    known = {name.upper() for name in Settings.model_fields}
    assert set(function["Environment"]["Variables"]) <= known


def test_secrets_are_given_by_reference_only(function):
    variables = function["Environment"]["Variables"]
    assert variables["SDK_CLIENT_AUTH_TOKEN"] == {"Fn::Sub": "secretsmanager://${AuthTokenSecret}"}
    assert variables["ANTHROPIC_API_KEY"]["Fn::If"][1] == {
        "Fn::Sub": "secretsmanager://${AnthropicKeySecret}"
    }


def test_the_worker_may_do_what_it_does_and_nothing_else(deployment):
    granted = {
        "WorkerRole": set(),
        "BedrockRole": set(),
        "AssumeBedrockRole": set(),
        "WebhookRole": set(),
        "UseCustomerKey": set(),
        "TenantRole": set(),
        "AssumeTenantRole": set(),
    }
    for statement in identity_statements(deployment):
        granted[statement.at].update(statement.actions)
    assert granted["WorkerRole"] | granted["AssumeBedrockRole"] == WORKER_ACTIONS
    assert granted["BedrockRole"] == BEDROCK_ACTIONS
    assert granted["WebhookRole"] == WEBHOOK_ACTIONS
    assert granted["TenantRole"] < WORKER_ACTIONS
    assert granted["AssumeTenantRole"] == {"sts:AssumeRole", "sts:TagSession"}


def actions_needed(paths):
    """The IAM actions of the AWS calls in these modules."""
    text = "".join(path.read_text() for path in paths)
    calls = set(re.findall(r'\bcall\(\s*"(\w+)",\s*"(\w+)"', text))
    # A transaction is authorized by the actions of its items: GetItem, PutItem, UpdateItem.
    calls -= {("dynamodb", "transact_get_items"), ("dynamodb", "transact_write_items")}
    needed = {f"{service}:{operation.title().replace('_', '')}" for service, operation in calls}
    authorized_as = {"s3:ListObjectsV2": "s3:ListBucket", "sns:PublishBatch": "sns:Publish"}
    return {authorized_as.get(action, action) for action in needed}


def test_every_aws_call_of_the_adapters_is_granted():
    paths = set((ROOT / "worker" / "adapters").rglob("*.py"))
    webhooks = {path for path in paths if path.name.startswith("webhook_")}
    desk = {path for path in paths if path.name in DESK}
    needed = actions_needed(paths - webhooks - desk)
    assert {"sqs:ChangeMessageVisibility", "sts:AssumeRole"} < needed
    assert needed <= WORKER_ACTIONS
    needed = actions_needed(webhooks) - {
        "dynamodb:DeleteItem"
    }  # `webhooks remove` is an operator's
    assert {"dynamodb:Query", "sqs:SendMessage"} < needed
    assert needed <= WEBHOOK_ACTIONS


def test_webhooks_are_delivered_by_a_function_of_their_own(deployment, function):
    delivery = properties(deployment, "WebhooksLambdaFunction")
    sweeper = properties(deployment, "WebhookSweeperLambdaFunction")
    required = {
        name.upper() for name, field in WebhookSettings.model_fields.items() if field.is_required()
    }
    for wanted in (delivery, sweeper):
        [command] = wanted["ImageConfig"]["Command"]
        module, _, name = command.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
        assert wanted["Code"] == function["Code"]
        assert wanted["Role"] == {"Fn::GetAtt": ["WebhookRole", "Arn"]}
        assert set(wanted["Environment"]["Variables"]) == required | {"METRICS_NAMESPACE"}
    mapping = properties(deployment, "WebhooksEventSourceMappingSQSWebhookQueue")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 10}
    rule = properties(deployment, "WebhookSweeperEventsRuleSchedule1")
    assert rule["ScheduleExpression"] == "rate(1 minute)"


def test_an_attempt_fits_into_the_delivery_function_s_time_and_the_queue_waits_for_it(deployment):
    delivery = properties(deployment, "WebhooksLambdaFunction")
    longest = WebhookSettings.model_fields["webhook_timeout_seconds"].default
    assert longest + WEBHOOK_MARGIN_SECONDS < delivery["Timeout"]
    queue = properties(deployment, "WebhookQueue")
    assert queue["VisibilityTimeout"] >= delivery["Timeout"]


def test_no_right_is_granted_on_everything_but_one_that_cannot_be_narrowed(deployment):
    on_everything = {
        (statement.sid, statement.actions)
        for statement in identity_statements(deployment)
        for resource in statement.resources
        if resource == "*"
    }
    assert on_everything == {
        ("ListProfiles", ("bedrock:ListInferenceProfiles",)),
        ("Trace", ("xray:PutTraceSegments", "xray:PutTelemetryRecords")),
    }


def test_every_function_is_traced_and_its_role_may_send_what_it_traces(deployment):
    functions = {
        name: resource["Properties"]
        for name, resource in deployment["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Function"
    }
    assert len(functions) == 4
    tracing = {
        statement.at
        for statement in identity_statements(deployment)
        if "xray:PutTraceSegments" in statement.actions
    }
    for function in functions.values():
        assert function["TracingConfig"] == {"Mode": "Active"}
        assert function["Role"]["Fn::GetAtt"][0] in tracing  # or Lambda refuses to create it


def test_the_agents_role_is_assumed_by_the_worker_alone(deployment):
    [trust] = properties(deployment, "BedrockRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"AWS": {"Fn::GetAtt": ["WorkerRole", "Arn"]}}
    assert properties(deployment, "AssumeBedrockRole")["Roles"] == [{"Ref": "WorkerRole"}]


def test_all_functions_use_the_role_of_this_project_and_no_default_one(deployment, function):
    assert function["Role"] == {"Fn::GetAtt": ["WorkerRole", "Arn"]}
    assert "IamRoleLambdaExecution" not in deployment["Resources"]


def test_logs_expire(deployment):
    for name in (
        "WorkerLogGroup",
        "SweeperLogGroup",
        "WebhooksLogGroup",
        "WebhookSweeperLogGroup",
    ):
        assert properties(deployment, name)["RetentionInDays"] == 14


def cfn_lint(template, *ignored):
    linter = Path(sys.executable).with_name("cfn-lint")
    ignore = ["--ignore-checks", *ignored] if ignored else []
    done = subprocess.run(
        [linter, "--template", template, "--regions", "us-east-1", *ignore],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_cfn_lint_accepts_the_resources_alone():
    assert cfn_lint(RESOURCES) == ""


def test_cfn_lint_accepts_the_packaged_template(packaged):
    # W3005: the framework writes DependsOn for a role that GetAtt names anyway. W1020: a policy's
    # variables, which Sub lets through, are no variables to it.
    assert cfn_lint(packaged("dev") / UPDATE_TEMPLATE, "W3005", "W1020") == ""


def test_the_first_empty_stack_is_given_no_parameters(packaged):
    """osls sends provider.stackParameters with its first template, which declares none."""
    state = load(packaged("dev") / "serverless-state.json")
    assert "stackParameters" not in state["service"]["provider"]
