"""The local stack, on the real emulator."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config

from tests.conftest import EMULATOR_ENVIRONMENT, ROOT
from tests.local.waiting import until
from worker.local.environment_file import read_environment_file
from worker.local.errors import LocalStackError
from worker.local.processes import start_time, stop
from worker.local.stack import Options, down, up

pytestmark = pytest.mark.integration

QUEUE = """
Parameters:
  Wait: {Type: Number, Default: 0}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: {FifoQueue: true, ReceiveMessageWaitTimeSeconds: !Ref Wait}
Outputs:
  QueueUrl: {Value: !Ref Queue}
"""


@pytest.fixture
def options(tmp_path):
    (tmp_path / "template.yml").write_text(QUEUE)
    yield Options(
        state_dir=tmp_path / "state",
        template=tmp_path / "template.yml",
        env_file=tmp_path / "worker.env",
        emulator_environment=EMULATOR_ENVIRONMENT,
    )
    down(tmp_path / "state")


def client_of(environment: dict[str, str], name: str):
    return boto3.client(
        name,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(proxies={}),
    )


def recorded(options: Options) -> list[dict]:
    return json.loads((options.state_dir / "stack.json").read_text())["services"]


def test_the_environment_file_leads_to_the_resources_and_the_model(options):
    stack = up(options)
    environment = read_environment_file(options.env_file)
    assert environment == stack.environment
    sqs = client_of(environment, "sqs")
    queue = environment["QUEUE_URL"]
    sqs.send_message(
        QueueUrl=queue, MessageBody="x", MessageGroupId="1", MessageDeduplicationId="1"
    )
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "x"
    health = httpx.get(f"{environment['ANTHROPIC_BASE_URL']}/_scripted/health", trust_env=False)
    assert health.status_code == 200
    assert environment["AUTH_MODE"] == "open"
    assert "SDK_CLIENT_AUTH_TOKEN" not in environment
    assert Path(environment["WORK_DIR"]).is_dir()
    assert options.env_file.stat().st_mode & 0o777 == 0o600


def test_the_deployed_template_gives_every_setting_that_names_a_resource(options):
    environment = up(replace(options, template=ROOT / "infra" / "resources.yml")).environment
    assert {
        "QUEUE_URL",
        "DLQ_URL",
        "SESSION_TABLE",
        "JOB_TABLE",
        "SESSION_BUCKET",
        "RESULT_TOPIC_ARN",
        "EVENT_BUS_NAME",
    } <= environment.keys()


def test_up_again_finds_it_up_and_writes_the_environment_file_anew(options):
    first = up(replace(options, auth=True))
    options.env_file.unlink()
    second = up(replace(options, auth=True))
    assert (first.was_up, second.was_up) == (False, True)
    assert first.services == second.services
    assert read_environment_file(options.env_file) == first.environment


def test_with_auth_producers_need_a_random_token(options):
    environment = up(replace(options, auth=True)).environment
    assert environment["AUTH_MODE"] == "token"
    assert len(environment["SDK_CLIENT_AUTH_TOKEN"]) > 30


def test_parameters_reach_the_template(options):
    environment = up(replace(options, parameters={"Wait": "7"})).environment
    attributes = client_of(environment, "sqs").get_queue_attributes(
        QueueUrl=environment["QUEUE_URL"], AttributeNames=["ReceiveMessageWaitTimeSeconds"]
    )["Attributes"]
    assert attributes["ReceiveMessageWaitTimeSeconds"] == "7"


def test_a_key_in_the_environment_is_not_used_by_itself(options):
    up(options, {"ANTHROPIC_API_KEY": "real-key", "CLAUDE_CODE_USE_BEDROCK": "1"})
    assert "real-key" not in options.env_file.read_text()
    assert read_environment_file(options.env_file)["CLAUDE_CODE_USE_BEDROCK"] == "0"


def test_a_real_model_is_used_when_asked_for(options):
    stack = up(replace(options, real=True), {"ANTHROPIC_API_KEY": "real-key"})
    assert [service.name for service in stack.services] == ["ministack"]
    assert stack.environment["ANTHROPIC_API_KEY"] == "real-key"
    assert "ANTHROPIC_BASE_URL" not in stack.environment


def test_a_real_model_without_access_starts_nothing(options):
    with pytest.raises(LocalStackError, match="set ANTHROPIC_API_KEY"):
        up(replace(options, real=True), {})
    assert not options.state_dir.exists()


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("Resources: [oops", "was refused: .*Template format error"),
        ("", "was refused: "),
        (
            "Resources: {Jobs: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 99999}}}",
            r"(?s)could not be created \(ROLLBACK_COMPLETE\).*Jobs .*VisibilityTimeout",
        ),
        ("Resources: {Jobs: {Type: AWS::SQS::Queue}}", "has no outputs"),
    ],
)
def test_a_broken_template_is_reported_and_nothing_is_left_running(options, template, reason):
    options.template.write_text(template)
    with pytest.raises(LocalStackError, match=reason):
        up(options)
    assert recorded(options) == []
    assert not options.env_file.exists()


def test_a_missing_template_is_reported(options):
    options.template.unlink()
    with pytest.raises(LocalStackError, match=r"template\.yml cannot be read"):
        up(options)


def test_a_port_in_use_is_reported_and_nothing_is_left_running(options, model):
    port = int(model.url.rpartition(":")[2])
    with pytest.raises(LocalStackError, match=f"port {port} for the scripted model"):
        up(replace(options, model_port=port))
    assert recorded(options) == []


def test_an_environment_file_of_somebody_else_is_kept_and_nothing_starts(options):
    options.env_file.write_text("MINE=1\n")
    with pytest.raises(LocalStackError, match="was not written by this command"):
        up(options)
    assert options.env_file.read_text() == "MINE=1\n"
    assert not options.state_dir.exists()


def test_up_starts_only_what_is_missing(options):
    emulator, model = up(options).services
    stop(model)
    stack = up(options)
    assert stack.services[0] == emulator
    assert stack.services[1].is_alive()
    assert not stack.was_up


def test_a_failed_up_leaves_what_ran_before(options, model):
    emulator, scripted = up(options).services
    stop(scripted)
    with pytest.raises(LocalStackError, match="cannot be used"):
        up(replace(options, model_port=int(model.url.rpartition(":")[2])))
    assert emulator.is_alive()
    assert [service["name"] for service in recorded(options)] == ["ministack"]


def test_down_ends_what_up_started_and_can_be_repeated(options):
    stack = up(options)
    assert down(options.state_dir) == ("scripted-model", "ministack")
    assert not any(service.is_alive() for service in stack.services)
    assert not options.env_file.exists()
    assert down(options.state_dir) == ()


def test_down_where_nothing_was_up_does_nothing(tmp_path):
    assert down(tmp_path / "nowhere") == ()
    assert not (tmp_path / "nowhere").exists()


def test_down_leaves_a_process_alone_that_took_over_a_pid(options):
    up(options)
    path = options.state_dir / "stack.json"
    state = json.loads(path.read_text())
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as innocent:
        state["services"].append({**state["services"][0], "name": "x", "pid": innocent.pid})
        path.write_text(json.dumps(state))
        assert down(options.state_dir) == ("scripted-model", "ministack")
        assert innocent.poll() is None
        innocent.kill()


FOREGROUND = """
import sys
from pathlib import Path
from worker.local.stack import Options, run
state, template, env_file, emulator = map(Path, sys.argv[1:])
options = Options(state, template, env_file, emulator_environment=emulator)
run(options, lambda stack: print("ready", stack.was_up, flush=True))
"""


@pytest.fixture
def foreground(options):
    """Starts `run` in a process of its own; its first line of output is the answer."""
    processes = []

    def start() -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                FOREGROUND,
                options.state_dir,
                options.template,
                options.env_file,
                EMULATOR_ENVIRONMENT,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        processes.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_waits_for_a_signal_and_then_ends_everything(options, foreground, number):
    process, said = foreground()
    assert said == "ready False"
    pids = [service["pid"] for service in recorded(options)]
    process.send_signal(number)
    assert process.wait(timeout=20) == 0
    assert [start_time(pid) for pid in pids] == [None, None]
    assert not options.env_file.exists()


def test_run_ends_with_the_reason_when_a_service_ends_by_itself(options, foreground):
    process, _ = foreground()
    _, model = recorded(options)
    os.kill(model["pid"], signal.SIGKILL)
    _, error = process.communicate(timeout=20)
    assert "LocalStackError: scripted-model ended by itself" in error
    assert down(options.state_dir) == ()


def test_run_leaves_a_stack_up_that_was_up(options, foreground):
    up(options)
    process, said = foreground()
    assert said == "ready True"
    assert process.wait(timeout=20) == 0
    assert down(options.state_dir) == ("scripted-model", "ministack")


async def test_down_ends_what_a_killed_run_left_behind(options, foreground):
    process, _ = foreground()
    process.kill()
    await until(lambda: process.poll() is not None)
    assert down(options.state_dir) == ("scripted-model", "ministack")
