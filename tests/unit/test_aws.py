"""What AWS answers is told apart once: what is worth another attempt, and what is not."""

import tempfile

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from worker.adapters.aws import Aws, RefusedError
from worker.domain.errors import UnavailableError


def answer(code, status=400, reasons=()):
    response = {
        "Error": {"Code": code, "Message": "why"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        "CancellationReasons": [{"Code": reason} for reason in reasons],
    }
    return ClientError(response, "Operation")


def cancelled(*reasons):
    return answer("TransactionCanceledException", 400, reasons)


async def called(error, monkeypatch):
    """Call an operation that answers with this error."""

    class Client:
        def operation(self):
            raise error

    aws = Aws(threads=1)
    monkeypatch.setattr(aws.clients, "get", lambda _service: Client())
    try:
        await aws.call("dynamodb", "operation", attempts=1)
    finally:
        aws.close()


@pytest.mark.parametrize(
    "error",
    [
        answer("ThrottlingException"),
        answer("ProvisionedThroughputExceededException"),
        answer("RequestThrottled"),
        answer("SlowDown", 503),
        answer("InternalError", 500),
        answer("ServiceUnavailable", 503),
        answer("Whatever", 502),
        cancelled("None", "ThrottlingError"),
        cancelled("ProvisionedThroughputExceeded", "None"),
        cancelled("TransactionConflict", "None"),
        ConnectTimeoutError(endpoint_url="http://127.0.0.1"),
    ],
    ids=repr,
)
async def test_what_aws_cannot_do_for_now_is_worth_another_attempt(error, monkeypatch):
    with pytest.raises(UnavailableError) as caught:
        await called(error, monkeypatch)
    assert caught.value.system == "dynamodb"


@pytest.mark.parametrize(
    "error",
    [
        answer("AccessDenied", 403),
        answer("ResourceNotFoundException"),
        answer("ValidationException"),
        cancelled("None", "ConditionalCheckFailed"),
    ],
    ids=repr,
)
async def test_what_aws_refuses_is_told_apart_with_its_code(error, monkeypatch):
    with pytest.raises(RefusedError) as caught:
        await called(error, monkeypatch)
    assert caught.value.code == error.response["Error"]["Code"]


async def test_each_attempt_sends_the_whole_of_a_file(monkeypatch):
    sent = []

    class Client:
        def operation(self, *, Body):  # noqa: N803 - as boto3 names it
            sent.append(Body.read())
            if len(sent) < 3:
                raise answer("SlowDown", 503)
            return {}

    aws = Aws(threads=1)
    monkeypatch.setattr(aws.clients, "get", lambda _service: Client())
    try:
        with tempfile.TemporaryFile() as body:
            body.write(b"all of it")
            await aws.call("s3", "operation", Body=body)
    finally:
        aws.close()
    assert sent == [b"all of it"] * 3
