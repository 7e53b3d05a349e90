"""The scripted model over HTTP."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.local.waiting import until
from worker.local.model import ScriptedModel

pytestmark = pytest.mark.integration


def body(text: str, **fields: object) -> dict:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture
async def client(model):
    async with httpx.AsyncClient(base_url=model.url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def bedrock(model):
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=model.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


def events_of(text: str) -> list[dict]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def everything(response: httpx.Response) -> tuple[list[str], bool]:
    """The lines that come until the end (True) or a read timeout (False)."""
    received = []
    try:
        async for line in response.aiter_lines():
            received.append(line)  # noqa: PERF401 - kept when the timeout comes
    except httpx.ReadTimeout:
        return received, False
    return received, True


async def test_a_message_is_answered_as_json(client):
    answer = (await client.post("/v1/messages", json=body("hi"))).json()
    assert answer["content"] == [
        {"type": "text", "text": "Hello! This is message 1 of our conversation. You said: 'hi'"}
    ]
    assert (answer["model"], answer["role"], answer["type"]) == ("m", "assistant", "message")


async def test_a_message_is_streamed(client):
    response = await client.post("/v1/messages?beta=true", json=body("hi", stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert [events[0]["type"], events[-1]["type"]] == ["message_start", "message_stop"]
    text = "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")
    assert text == "Hello! This is message 1 of our conversation. You said: 'hi'"


async def test_a_status_is_an_api_error(client):
    response = await client.post("/v1/messages", json=body("[[status 529]]"))
    assert response.status_code == 529
    assert response.json()["error"]["type"] == "overloaded_error"


async def test_a_fault_happens_so_many_times_and_then_no_more(client):
    asked = body("hello [[status 529 times 2]]")
    statuses = [(await client.post("/v1/messages", json=asked)).status_code for _ in range(4)]
    assert statuses == [529, 529, 200, 200]


async def test_faults_of_one_message_follow_each_other(client):
    asked = body("hello [[status 429 times 1]] [[status 500 times 1]]")
    statuses = [(await client.post("/v1/messages", json=asked)).status_code for _ in range(3)]
    assert statuses == [429, 500, 200]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_disconnect_leaves_the_answer_unfinished(client, stream):
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/v1/messages", json=body("[[disconnect]]", stream=stream))


async def test_a_stall_sends_a_beginning_and_then_nothing(client):
    asked = body("[[stall]]", stream=True)
    async with client.stream("POST", "/v1/messages", json=asked, timeout=0.5) as response:
        received, ended = await everything(response)
    assert "event: content_block_delta" in received
    assert "event: message_stop" not in received
    assert not ended


async def test_a_hang_sends_nothing(client):
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/v1/messages", json=body("[[hang]]"), timeout=0.3)
    assert (await client.post("/v1/messages", json=body("hi"))).status_code == 200


async def test_a_delay_comes_before_the_first_byte(client):
    started = time.monotonic()
    async with client.stream("POST", "/v1/messages", json=body("[[delay 0.4]]", stream=True)):
        assert time.monotonic() - started >= 0.4


async def test_slow_pauses_before_each_piece(client):
    started = time.monotonic()
    response = await client.post("/v1/messages", json=body("x [[slow 0.03]]", stream=True))
    assert time.monotonic() - started >= 0.03 * len(events_of(response.text))


async def test_requests_are_served_in_parallel(client, model):
    before = model.recorder.total
    hanging = [
        asyncio.create_task(client.post("/v1/messages", json=body(f"{n} [[hang]]")))
        for n in range(20)
    ]
    await until(lambda: model.recorder.total == before + 20)
    assert (await client.post("/v1/messages", json=body("hi"))).status_code == 200
    for task in hanging:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("sent", "problem"),
    [(b"{", "body: expected a JSON object"), (b"[]", "body:"), (b"{}", "messages: expected")],
)
async def test_a_malformed_request_is_a_client_error(client, sent, problem):
    response = await client.post("/v1/messages", content=sent)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert problem in response.json()["error"]["message"]


async def test_tokens_are_counted(client):
    counted = await client.post("/v1/messages/count_tokens", json=body("x" * 4000))
    assert counted.json()["input_tokens"] > 1000


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_answers(client, method):
    assert (await client.request(method, "/")).status_code == 200


async def test_requests_are_recorded_without_secrets(client):
    secrets = {"x-api-key": "k-1", "authorization": "Bearer k-2"}
    await client.post("/v1/messages", json=body("one"), headers=secrets)
    await client.post("/v1/messages", json=body("two"))
    recorded = (await client.get("/_scripted/requests?limit=2")).json()["requests"]
    assert [entry["body"]["messages"][0]["content"] for entry in recorded] == ["one", "two"]
    assert recorded[0]["headers"]["x-api-key"] == "<redacted>"
    assert "k-2" not in json.dumps(recorded)


async def test_recorded_requests_can_be_cleared():
    async with ScriptedModel() as model, httpx.AsyncClient(base_url=model.url) as client:
        await client.post("/v1/messages", json=body("one"))
        assert len(model.requests) == 1
        assert (await client.delete("/_scripted/requests")).status_code == 204
        assert model.requests == []


async def test_a_limit_that_is_no_number_is_refused(client):
    assert (await client.get("/_scripted/requests?limit=x")).status_code == 400


def test_boto3_reads_a_bedrock_stream(bedrock):
    response = bedrock.invoke_model_with_response_stream(
        modelId="us.anthropic.claude-v1:0", body=json.dumps(body("hi"))
    )
    events = [json.loads(event["chunk"]["bytes"]) for event in response["body"]]
    text = "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")
    assert text == "Hello! This is message 1 of our conversation. You said: 'hi'"
    assert events[0]["message"]["model"] == "us.anthropic.claude-v1:0"


def test_boto3_reads_a_bedrock_answer(bedrock):
    response = bedrock.invoke_model(modelId="m/1", body=json.dumps(body("hi")))
    assert json.loads(response["body"].read())["model"] == "m/1"


def test_a_status_is_a_bedrock_error(bedrock):
    with pytest.raises(ClientError) as raised:
        bedrock.invoke_model(modelId="m", body=json.dumps(body("[[status 429]]")))
    assert raised.value.response["Error"]["Code"] == "ThrottlingException"


async def test_inference_profiles_are_listed(client):
    assert (await client.get("/inference-profiles")).json() == {"inferenceProfileSummaries": []}


async def test_a_hanging_request_does_not_keep_the_server_from_stopping():
    async with ScriptedModel() as model, httpx.AsyncClient(trust_env=False) as client:
        hanging = asyncio.create_task(
            client.post(f"{model.url}/v1/messages", json=body("[[hang]]"), timeout=60)
        )
        await until(lambda: model.requests)
    with pytest.raises(httpx.HTTPError):
        await hanging


def test_a_port_in_use_is_refused(model):
    with pytest.raises(OSError, match="in use"):
        ScriptedModel(port=int(model.url.rpartition(":")[2]))


def test_as_a_process_it_tells_its_address_and_ends_on_sigterm():
    argv = [sys.executable, "-m", "worker.local.model", "--port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        address = json.loads(process.stdout.readline())["url"]
        assert httpx.get(f"{address}/_scripted/health", trust_env=False).json()["status"] == "ok"
        process.terminate()
        assert process.wait(timeout=10) in {0, -15}


def test_as_a_process_it_says_that_its_port_is_in_use(model):
    port = model.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "worker.local.model", "--port", port],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
