"""One thing is broken at a time, and exactly that is found."""

import json
import re
import time
import uuid

import boto3
import pytest

from worker.adapters.agent import ModelAccess
from worker.adapters.agent.credentials import ModelEnvironment
from worker.adapters.aws import RefusedError
from worker.operations.doctor.channels import examine_bucket
from worker.operations.doctor.examine import examine
from worker.operations.doctor.machine import examine_aws_access, examine_disk
from worker.operations.doctor.model import examine_model
from worker.operations.doctor.probe import MISSING
from worker.operations.doctor.queues import Wanted, examine_queues
from worker.operations.doctor.tables import examine_tables
from worker.operations.doctor.webhooks import examine_webhooks
from worker.webhook_settings import WebhookSettings

pytestmark = pytest.mark.integration

WANTED = Wanted(lease_seconds=120, max_attempts=5)


def bad(findings):
    """What is wrong: area and check of each problem and warning."""
    for finding in findings:
        if finding.level in {"problem", "warning"}:
            assert finding.remedy, f"no remedy: {finding}"
    return [(f.area, f.check, f.level) for f in findings if f.level in {"problem", "warning"}]


@pytest.fixture
def queues():
    """A pair of queues as the template has it; makes others with changes."""
    sqs, made = boto3.client("sqs"), []

    def queue(fifo=True, **attributes):
        suffix = ".fifo" if fifo else ""
        given = {"MessageRetentionPeriod": "1209600", **attributes}
        url = sqs.create_queue(
            QueueName=f"doctor-{uuid.uuid4().hex}{suffix}",
            Attributes={**({"FifoQueue": "true"} if fifo else {}), **given},
        )["QueueUrl"]
        made.append(url)
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    def pair(job=None, dead=None, receives=100, redrive=True):
        dead_url, dead_arn = queue(**(dead or {}))
        policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": str(receives)})
        redriven = {"RedrivePolicy": policy} if redrive else {}
        job_url, _ = queue(**{"VisibilityTimeout": "900", **redriven, **(job or {})})
        return job_url, dead_url

    pair.queue = queue
    yield pair
    for url in made:
        sqs.delete_queue(QueueUrl=url)


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        (
            {"job": {"ContentBasedDeduplication": "true"}},
            [("job queue", "deduplication", "problem")],
        ),
        (
            {"dead": {"ContentBasedDeduplication": "true"}},
            [("dead-letter queue", "deduplication", "problem")],
        ),
        ({"job": {"MessageRetentionPeriod": "86400"}}, [("job queue", "retention", "warning")]),
        ({"job": {"VisibilityTimeout": "30"}}, [("job queue", "visibility_timeout", "problem")]),
        ({"redrive": False}, [("job queue", "redrive", "problem")]),
        ({"receives": 10}, [("job queue", "max_receives", "problem")]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
async def test_a_queue_that_is_set_otherwise(aws, queues, changes, found):
    job, dead = queues(**changes)
    assert bad(await examine_queues(aws, job, dead, WANTED)) == found


async def test_a_redrive_to_another_queue(aws, resources, queues):
    job, _ = queues()
    other, _ = queues.queue()
    found = await examine_queues(aws, job, other, WANTED)
    assert bad(found) == [("job queue", "redrive", "problem")]


async def test_a_queue_that_is_not_there_or_no_fifo_queue(aws, resources, queues):
    job, dead = queues()
    gone = job.replace(".fifo", "x.fifo")
    assert bad(await examine_queues(aws, gone, dead, WANTED)) == [
        ("job queue", "reachable", "problem")
    ]
    plain, _ = queues.queue(fifo=False)
    assert ("dead-letter queue", "fifo", "problem") in bad(
        await examine_queues(aws, job, plain, WANTED)
    )


async def test_looking_at_a_queue_takes_no_message(aws, resources, queues):
    job, dead = queues()
    sqs = boto3.client("sqs")
    sqs.send_message(QueueUrl=job, MessageBody="{}", MessageGroupId="a", MessageDeduplicationId="a")
    await examine_queues(aws, job, dead, WANTED)
    [message] = sqs.receive_message(QueueUrl=job, MessageSystemAttributeNames=["All"])["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert "Messages" not in sqs.receive_message(QueueUrl=dead)


@pytest.fixture
def tables(emulator):
    """Tables as the template has them; makes others with changes."""
    dynamodb, made = boto3.client("dynamodb"), []

    def table(key, indexes=(), expiry="expires_at"):
        name = f"doctor-{uuid.uuid4().hex}"
        keys = {key: "S", **{h: "S" for _, h, _ in indexes}, **{r: "N" for _, _, r in indexes}}
        secondary = [
            {
                "IndexName": index,
                "KeySchema": [
                    {"AttributeName": hash_key, "KeyType": "HASH"},
                    {"AttributeName": range_key, "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, hash_key, range_key in indexes
        ]
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": n, "AttributeType": kind} for n, kind in keys.items()
            ],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            **({"GlobalSecondaryIndexes": secondary} if secondary else {}),
        )
        if expiry:
            dynamodb.update_time_to_live(
                TableName=name,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": expiry},
            )
        made.append(name)
        return name

    yield table
    for name in made:
        dynamodb.delete_table(TableName=name)


INDEXES = [
    ("unfinished", "unfinished", "updated_at"),
    ("ended", "ended", "ended_at"),
    ("chat", "session_key", "created_at"),
]


async def test_tables_as_they_should_be(aws, tables):
    jobs, sessions = tables("job_id", INDEXES), tables("session_key")
    assert bad(await examine_tables(aws, jobs, sessions)) == []
    scanned = boto3.client("dynamodb").scan(TableName=jobs)
    assert scanned["Count"] == 0, "an examination wrote a row"


@pytest.mark.parametrize("missing", ["ended", "chat"])
async def test_an_index_that_is_missing(aws, tables, missing):
    jobs = tables("job_id", [index for index in INDEXES if index[0] != missing])
    found = await examine_tables(aws, jobs, tables("session_key"))
    assert bad(found) == [("job table", f"index {missing}", "problem")]


async def test_an_index_by_other_keys(aws, tables):
    jobs = tables("job_id", [*INDEXES[:2], ("chat", "session_key", "updated_at")])
    found = await examine_tables(aws, jobs, tables("session_key"))
    assert bad(found) == [("job table", "index chat", "problem")]


async def test_the_tables_in_each_other_s_place(aws, tables):
    jobs, sessions = tables("job_id", INDEXES), tables("session_key")
    assert ("job table", "key", "problem") in bad(await examine_tables(aws, sessions, jobs))


@pytest.mark.parametrize("expiry", [None, "another"])
async def test_rows_that_never_expire(aws, tables, expiry):
    found = await examine_tables(
        aws, tables("job_id", INDEXES), tables("session_key", expiry=expiry)
    )
    assert bad(found) == [("session table", "expiry", "warning")]


async def test_a_table_that_is_not_there(aws, tables):
    found = await examine_tables(aws, tables("job_id", INDEXES), "nothing")
    assert bad(found) == [("session table", "reachable", "problem")]


@pytest.fixture
def bucket(emulator):
    """A bucket with rules and a public access block; `rules(days)` changes the first."""
    s3, name = boto3.client("s3"), f"doctor-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    s3.put_public_access_block(
        Bucket=name,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )

    class Bucket:
        def __str__(self):
            return name

        def rules(self, days):
            s3.put_bucket_lifecycle_configuration(
                Bucket=name,
                LifecycleConfiguration={
                    "Rules": [
                        {
                            "ID": "sessions",
                            "Status": "Enabled",
                            "Filter": {"Prefix": "sessions/"},
                            "Expiration": {"Days": days},
                        }
                    ]
                },
            )

        def keys(self):
            return s3.list_objects_v2(Bucket=name).get("Contents", [])

    made = Bucket()
    made.rules(90)
    yield made
    s3.delete_bucket(Bucket=name)


async def test_a_bucket_as_it_should_be(aws, bucket):
    assert bad(await examine_bucket(aws, str(bucket), 30)) == []
    assert bucket.keys() == [], "an examination wrote an object"


async def test_a_rule_that_removes_what_a_chat_still_needs(aws, bucket):
    bucket.rules(60)
    assert bad(await examine_bucket(aws, str(bucket), 30)) == [("bucket", "lifecycle", "problem")]
    assert bad(await examine_bucket(aws, str(bucket), 29)) == []


async def test_a_bucket_without_rules(aws, bucket):
    boto3.client("s3").delete_bucket_lifecycle(Bucket=str(bucket))
    assert bad(await examine_bucket(aws, str(bucket), 30)) == [("bucket", "lifecycle", "warning")]


async def test_a_bucket_that_is_public_or_not_there(aws, bucket):
    boto3.client("s3").delete_public_access_block(Bucket=str(bucket))
    assert bad(await examine_bucket(aws, str(bucket), 30)) == [("bucket", "private", "warning")]
    assert bad(await examine_bucket(aws, f"{bucket}x", 30)) == [("bucket", "reachable", "problem")]


class Denying:
    """AWS with one right taken away."""

    def __init__(self, aws, operation):
        self._aws, self._operation = aws, operation

    async def call(self, service, operation, *, attempts=3, **arguments):
        if operation == self._operation:
            raise RefusedError(f"{service} {operation}", "AccessDeniedException", "no", ())
        return await self._aws.call(service, operation, attempts=attempts, **arguments)


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        ("change_message_visibility", ("job queue", "may sqs:ChangeMessageVisibility")),
        ("delete_message", ("job queue", "may sqs:DeleteMessage")),
        ("get_item", ("job table", "may dynamodb:GetItem")),
        ("put_item", ("job table", "may dynamodb:PutItem")),
        ("update_item", ("job table", "may dynamodb:UpdateItem")),
        ("query", ("job table", "may dynamodb:Query")),
        ("get_object", ("bucket", "may s3:GetObject with s3:ListBucket")),
        ("put_object", ("bucket", "may s3:PutObject")),
    ],
)
async def test_a_right_that_is_missing(aws, queues, tables, bucket, operation, found):
    denying = Denying(aws, operation)
    examined = [
        *await examine_queues(denying, *queues(), WANTED),
        *await examine_tables(denying, tables("job_id", INDEXES), tables("session_key")),
        *await examine_bucket(denying, str(bucket), 30),
    ]
    of_jobs = [entry for entry in bad(examined) if entry[0] != "session table"]
    assert of_jobs == [(*found, "problem")]


async def test_what_may_not_be_described_is_said_to_be_not_checked(aws, queues):
    denying = Denying(aws, "get_queue_attributes")
    found = await examine_queues(denying, *queues(), WANTED)
    assert bad(found) == []
    assert {(f.area, f.level) for f in found} == {
        ("job queue", "unchecked"),
        ("dead-letter queue", "unchecked"),
    }


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, None), (30, "warning"), (-30, "warning"), (100, "problem")]
)
async def test_a_clock_that_is_off(aws, resources, seconds, level):
    found = bad(await examine_aws_access(aws, time.time() + seconds))
    assert found == ([("clock", "skew", level)] if level else [])


async def test_a_disk_without_room_or_that_cannot_be_written_to(tmp_path):
    assert bad(await examine_disk(tmp_path / "new", 1)) == []
    assert bad(await examine_disk(tmp_path, 10**9)) == [("disk", "room", "problem")]
    (tmp_path / "file").write_text("")
    found = bad(await examine_disk(tmp_path / "file", 1))
    assert found == [("disk", "writable", "problem")]


@pytest.fixture
def anthropic():
    """The Messages API as far as the doctor looks: answers with a status that is set."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen = self.headers.get("x-api-key"), self.path
            self.server.seen.append(seen)
            self.send_response(self.server.status)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status, server.seen = 200, []
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


async def model_findings(aws, url):
    access = ModelAccess(api_key="a-key", base_url=url)
    return await examine_model(access, ModelEnvironment(lambda: access, aws))


@pytest.mark.parametrize(
    ("status", "level"), [(200, "ok"), (401, "problem"), (403, "problem"), (404, "unchecked")]
)
async def test_a_key_that_the_model_s_address_takes_or_not(aws, anthropic, status, level):
    anthropic.status = status
    [finding] = await model_findings(aws, f"http://127.0.0.1:{anthropic.server_port}/")
    assert finding.level == level
    assert "a-key" not in finding.text + finding.remedy
    assert anthropic.seen == [("a-key", "/v1/models?limit=1")]


async def test_an_address_of_the_model_that_does_not_answer(aws):
    [finding] = await model_findings(aws, "http://127.0.0.1:9")
    assert finding.level == "problem"


async def test_webhooks_without_a_rule_or_with_another_dead_letter_queue(aws, resources, queues):
    settings = WebhookSettings.from_env(resources)
    assert bad(await examine_webhooks(aws, settings)) == []
    other, _ = queues.queue(fifo=False)
    changed = settings.model_copy(update={"webhook_dlq_url": other})
    assert bad(await examine_webhooks(aws, changed)) == [("webhooks", "redrive", "problem")]
    changed = settings.model_copy(update={"event_bus_name": "default"})
    assert bad(await examine_webhooks(aws, changed)) == [("webhooks", "rule", "warning")]
    changed = settings.model_copy(update={"webhook_table": "nothing"})
    assert bad(await examine_webhooks(aws, changed)) == [("webhooks", "reachable", "problem")]


@pytest.fixture
def whole(resources, model, tmp_path):
    """A worker's whole environment."""
    return {
        **resources,
        "AUTH_MODE": "open",
        "ANTHROPIC_API_KEY": "dummy",
        "ANTHROPIC_BASE_URL": model.url,
        "WORK_DIR": str(tmp_path / "work"),
    }


async def test_a_sound_stack_has_no_problem_and_a_wrong_setting_is_one(aws, whole):
    findings = await examine(whole, aws)
    assert [entry for entry in bad(findings) if entry[2] == "problem"] == []
    # What the emulator drops of the template.
    assert {entry[:2] for entry in bad(findings)} <= {
        ("job table", "expiry"),
        ("session table", "expiry"),
        ("bucket", "lifecycle"),
    }
    wrong = await examine({**whole, "MAX_TURNS": "none", "LEASE_SECONDS": "0"}, aws)
    texts = [f.text for f in wrong if f.area == "configuration"]
    assert [re.match(r"\w+", text)[0] for text in texts] == ["MAX_TURNS", "LEASE_SECONDS"]
    assert {f.area for f in wrong} > {"job queue", "bucket"}, "the rest is examined all the same"


@pytest.mark.parametrize(
    ("setting", "value", "area"),
    [
        ("RESULT_TOPIC_ARN", "arn:aws:sns:us-east-1:000000000000:nothing", "topic"),
        ("EVENT_BUS_NAME", "nothing", "event bus"),
    ],
)
async def test_a_channel_that_is_not_there(aws, whole, setting, value, area):
    found = bad(await examine({**whole, setting: value}, aws))
    # The webhooks' rule is on the bus.
    assert (area, "reachable", "problem") in found
    assert {entry[0] for entry in found if entry[2] == "problem"} == {area}


async def test_the_command_s_exit_status_and_json(command, whole):
    done = await command("doctor", "--json", **whole)
    said = json.loads(done.stdout)
    assert said["ok"] is True
    assert {"area", "check", "level", "text", "remedy"} == said["findings"][0].keys()
    done = await command("doctor", status=1, **{**whole, "SESSION_BUCKET": "nothing-here"})
    assert "nothing-here" in done.stdout
    assert "→" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


async def test_a_model_call_goes_through_the_agent_and_leaves_nothing(command, whole, resources):
    done = await command("doctor", "--model-call", "--json", **whole)
    [call] = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "call"]
    assert call["level"] == "ok"
    gone = await command("sessions", "show", "doctor-probe", status=1)
    assert "nothing is known" in gone.stderr


def test_the_codes_of_what_is_missing_are_told_apart_from_those_of_what_is_forbidden():
    from worker.operations.doctor.probe import DENIED, IDENTITY

    assert not MISSING & DENIED
    assert not IDENTITY & DENIED
