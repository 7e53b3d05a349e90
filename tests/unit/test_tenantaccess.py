"""A tenant's work is signed with keys of its own, or not at all."""

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from worker.adapters import tenantaccess
from worker.adapters.aws import Aws, RefusedError
from worker.adapters.objects import ObjectStore
from worker.adapters.tenantaccess import TenantAws
from worker.domain.errors import StateDamagedError, UnavailableError

ROLE = "arn:aws:iam::123456789012:role/tenant"


class Sts:
    """Gives keys that say whose they are, and the how manieth; `good_for` so many minutes."""

    def __init__(self, good_for=60):
        self.good_for = good_for
        self.asked = []
        self.error = None

    def request(self, service, operation, arguments):
        assert (service, operation) == ("sts", "assume_role")
        self.asked.append(arguments)
        if self.error:
            raise self.error
        [tag] = arguments["Tags"]
        return {
            "Credentials": {
                "AccessKeyId": f"{tag['Value']}-{len(self.asked)}",
                "SecretAccessKey": "secret",
                "SessionToken": f"token of {tag['Value']}",
                "Expiration": datetime.now(UTC) + timedelta(minutes=self.good_for),
            }
        }


@pytest.fixture
def sts():
    return Sts()


@pytest.fixture
def aws(monkeypatch, sts):
    found = TenantAws(ROLE, threads=2, region="us-east-1")
    monkeypatch.setattr(found.clients, "request", sts.request)
    yield found
    found.close()


def signed(aws):
    """Whose keys a request would be signed with."""
    url = aws.client("s3").generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    query = parse_qs(urlsplit(url).query)
    key = query["X-Amz-Credential"][0].partition("/")[0]
    assert query["X-Amz-Security-Token"] == [f"token of {key.rpartition('-')[0]}"]
    return key


def test_each_tenant_s_requests_are_signed_with_keys_for_its_tag_which_are_fetched_once(aws, sts):
    assert [signed(aws.of(tenant)) for tenant in ("acme", "globex", "acme", "globex")] == [
        *("acme-1", "globex-2", "acme-1", "globex-2")
    ]
    assert sts.asked[0] == {
        "RoleArn": ROLE,
        "RoleSessionName": "tenant-acme",
        "DurationSeconds": 3600,
        "Tags": [{"Key": "tenant", "Value": "acme"}],
    }


def test_nothing_is_asked_for_a_tenant_before_it_has_work(aws, sts):
    aws.of("acme")
    assert not sts.asked


def test_the_longest_tenant_s_session_has_a_name_that_sts_takes(aws, sts):
    signed(aws.of("t" * 64))
    assert len(sts.asked[0]["RoleSessionName"]) == 64
    assert sts.asked[0]["Tags"][0]["Value"] == "t" * 64


def test_keys_are_renewed_while_they_are_still_good(aws, sts):
    sts.good_for = 14
    assert signed(aws.of("acme")) == "acme-1"
    sts.good_for = 60
    assert [signed(aws.of("acme")) for _ in range(3)] == ["acme-2"] * 3


def test_while_they_cannot_be_renewed_they_are_used_until_they_soon_expire(aws, sts):
    sts.good_for = 14
    signed(aws.of("acme"))
    sts.error = UnavailableError("sts", "assume_role: not now")
    assert signed(aws.of("acme")) == "acme-1"


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("sts assume_role", "AccessDenied", "not authorized to TagSession", ()),
        UnavailableError("sts", "assume_role: ServiceUnavailable: later"),
    ],
    ids=["refused", "unavailable"],
)
async def test_without_keys_of_its_own_nothing_is_done_for_a_tenant(aws, sts, error, monkeypatch):
    # Whatever would be sent to AWS would fail in another way.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    sts.error = error
    with pytest.raises(UnavailableError) as caught:
        await aws.of("acme").call("s3", "list_objects_v2", attempts=1, Bucket="b")
    assert caught.value.system == "sts"
    for part in ("TENANT_ROLE_ARN", ROLE, "'acme'", str(error), "sts:TagSession"):
        assert part in str(caught.value)


async def test_it_is_tried_again_like_any_request(aws, sts):
    sts.error = UnavailableError("sts", "assume_role: later")
    with pytest.raises(UnavailableError):
        await aws.of("acme").call("s3", "list_objects_v2", attempts=3, Bucket="b")
    assert len(sts.asked) == 3


async def test_parallel_jobs_of_a_tenant_wait_for_the_same_keys(aws, sts):
    acme = aws.of("acme")
    acme.prepare("s3")
    found = await asyncio.gather(*(acme.run(lambda: signed(acme)) for _ in range(8)))
    assert found == ["acme-1"] * 8


def test_only_so_many_tenants_are_kept_and_the_idlest_goes_first(aws, monkeypatch):
    monkeypatch.setattr(tenantaccess, "MAX_TENANTS", 2)
    acme, globex = aws.of("acme"), aws.of("globex")
    closed = []
    monkeypatch.setattr(globex, "close", lambda: closed.append("globex"))
    assert aws.of("acme") is acme
    aws.of("initech")
    assert closed == ["globex"]
    assert aws.of("acme") is acme
    assert aws.of("globex") is not globex


async def test_who_goes_ends_neither_the_threads_nor_its_own_work(aws, monkeypatch):
    monkeypatch.setattr(tenantaccess, "MAX_TENANTS", 1)
    acme = aws.of("acme")
    signed(acme)
    aws.of("globex")
    assert await acme.run(lambda: signed(acme)) == "acme-1"
    assert await aws.run(lambda: "runs") == "runs"


def test_without_a_role_all_is_done_as_the_worker_itself():
    aws = Aws(threads=1)
    assert aws.of("acme") is aws
    aws.close()


@pytest.mark.parametrize(("listed", "error"), [([], StateDamagedError), (["k"], RefusedError)])
async def test_a_missing_object_is_told_from_a_forbidden_one(
    aws, monkeypatch, tmp_path, listed, error
):
    """S3 answers 403 for both to who may list a part of the bucket only."""

    def request(_service, operation, _arguments):
        if operation == "get_object":
            raise RefusedError("s3 get_object", "AccessDenied", "no", ())
        return {"Contents": [{"Key": key} for key in listed]}

    monkeypatch.setattr(aws.clients, "request", request)
    with pytest.raises(error):
        await ObjectStore(aws, "b").get("k", tmp_path / "k")
