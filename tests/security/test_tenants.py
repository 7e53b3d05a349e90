"""With TENANT_ROLE_ARN a tenant's state is reached with keys that AWS would let reach no other's.

The emulator enforces no rights. So the calls of a worker are seen as they are signed, and held
against the role's policy as it is written in infra/tenants.yml.
"""

import threading
import uuid
from dataclasses import dataclass
from fnmatch import fnmatchcase

import boto3
import botocore.client
import pytest

from tests.deploy.templates import ROOT, load, properties
from tests.integration.conftest import Bot, running

ROLE = "arn:aws:iam::000000000000:role/tenant"


@dataclass(frozen=True)
class Demand:
    """What a request asks of IAM: an action on a resource, with one key of its context."""

    action: str
    resource: str
    key: str = ""
    value: str = ""


@dataclass(frozen=True)
class Grant:
    """A statement of the role's, as it reads for one tenant."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: dict[str, tuple[str, ...]]

    def allows(self, demand):
        return (
            demand.action in self.actions
            and any(fnmatchcase(demand.resource, pattern) for pattern in self.resources)
            and all(
                demand.key == key and any(fnmatchcase(demand.value, pattern) for pattern in wanted)
                for key, wanted in self.conditions.items()
            )
        )


def grants(tenant):
    template = load(ROOT / "infra" / "tenants.yml")
    [policy] = properties(template, "TenantRole")["Policies"]

    def text(value):
        match value:
            case {"Fn::GetAtt": [name, "Arn"]}:
                return name
            case {"Fn::Sub": written}:
                plain = written.replace("${SessionBucket.Arn}", "SessionBucket")
                return plain.replace("${!aws:PrincipalTag/tenant}", tenant)
        return value

    def texts(value):
        return tuple(text(item) for item in (value if isinstance(value, list) else [value]))

    return [
        Grant(
            statement["Sid"],
            texts(statement["Action"]),
            texts(statement["Resource"]),
            {
                key: texts(wanted)
                for condition in statement.get("Condition", {}).values()
                for key, wanted in condition.items()
            },
        )
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def allowed(tenant, demand):
    return any(grant.allows(demand) for grant in grants(tenant))


def demands(operation, arguments, tables):
    """What a call to S3 or DynamoDB asks for."""
    match operation:
        case "ListObjectsV2":
            return [Demand("s3:ListBucket", "SessionBucket", "s3:prefix", arguments["Prefix"])]
        case "GetObject" | "PutObject":
            return [Demand(f"s3:{operation}", f"SessionBucket/{arguments['Key']}")]
        case "TransactGetItems" | "TransactWriteItems":
            parts = [part for item in arguments["TransactItems"] for part in item.items()]
        case _:
            parts = [(operation.removesuffix("Item"), arguments)]
    return [
        Demand(
            f"dynamodb:{kind}Item",
            tables[part["TableName"]],
            "dynamodb:LeadingKeys",
            next(iter((part.get("Key") or part["Item"]).values()))["S"],
        )
        for kind, part in parts
    ]


def state_of(demand):
    """The tenant whose state is asked for; None for what begins with no tenant."""
    match demand:
        case Demand(action="s3:ListBucket", value=prefix):
            return prefix.split("/")[1]
        case Demand(resource="SessionTable", value=key):
            return key.split("/")[0]
        case Demand(resource="JobTable"):
            return None
    _, kind, tenant, *_ = demand.resource.split("/")
    return tenant if kind in {"sessions", "turns", "attachments"} else None


@pytest.fixture
def seen(monkeypatch):
    """(tenant of the keys that sign it or None, operation, arguments) of each call of the worker's
    to S3 and DynamoDB."""
    found, tenants, plain = [], {}, botocore.client.BaseClient._make_api_call

    def noted(client, operation, arguments):
        service = client.meta.service_model.service_name
        if service in {"s3", "dynamodb"} and threading.current_thread().name.startswith("aws"):
            keys = client._request_signer._credentials.get_frozen_credentials()
            found.append((tenants.get(keys.access_key), operation, arguments))
        answer = plain(client, operation, arguments)
        if operation == "AssumeRole":
            assert arguments["RoleArn"] == ROLE
            [tag] = arguments["Tags"]
            assert tag["Key"] == "tenant"
            tenants[answer["Credentials"]["AccessKeyId"]] = tag["Value"]
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", noted)
    return found


async def conversation(environ, tenant):
    """Turns that reach all of a tenant's state: written, restored, forked, tried again."""
    bot = Bot(environ)
    key = f"attachments/{tenant}/{uuid.uuid4().hex}"
    boto3.client("s3").put_object(Bucket=environ["SESSION_BUCKET"], Key=key, Body=b"a note")
    first = await bot.ask("write notes.txt: x", tenant_id=tenant, attachments=[{"key": key}])
    again = await bot.ask(f"hello {key} [[status 529 times 1]]", tenant_id=tenant)
    fork = await bot.ask(
        "hello",
        uuid.uuid4().hex,
        tenant_id=tenant,
        session="fork",
        fork_of={"chat_id": bot.chat},
    )
    large = await bot.ask("[[long 400000]]", tenant_id=tenant)
    return [first.session_status, again.session_status, fork.session_status, large.session_status]


@pytest.mark.integration
async def test_a_tenant_s_state_is_reached_with_its_keys_and_they_suffice(own, seen):
    one, other = f"a-{uuid.uuid4().hex}", f"b-{uuid.uuid4().hex}"
    tables = {own["SESSION_TABLE"]: "SessionTable", own["JOB_TABLE"]: "JobTable"}
    changes = {"TENANT_ROLE_ARN": ROLE, "TENANT_DAILY_BUDGET_USD": "1000", "WARM_CHATS": "0"}
    async with running(own, **changes):
        for tenant in (one, other):
            statuses = await conversation(own, tenant)
            assert statuses == ["new", "continued", "forked", "continued"]
    used, signers = set(), set()
    for tenant, operation, arguments in seen:
        for demand in demands(operation, arguments, tables):
            owner = state_of(demand)
            if owner is not None:
                assert tenant == owner, (operation, demand)
            if tenant is None:
                continue
            signers.add(tenant)
            assert allowed(tenant, demand), (operation, demand)
            if owner is not None:
                assert not allowed(other if tenant == one else one, demand), (operation, demand)
            used |= {(grant.sid, demand.action) for grant in grants(tenant) if grant.allows(demand)}
    assert signers == {one, other}
    granted = {(grant.sid, action) for grant in grants(one) for action in grant.actions}
    assert granted - used == set(), "granted, and never used"


@pytest.mark.parametrize(
    "demand",
    [
        Demand("s3:GetObject", "SessionBucket/sessions/acme/chat/1.zst"),
        Demand("s3:PutObject", "SessionBucket/turns/acme/chat/1.zst"),
        Demand("s3:GetObject", "SessionBucket/attachments/acme/note"),
        Demand("s3:ListBucket", "SessionBucket", "s3:prefix", "turns/acme/chat/"),
        Demand("dynamodb:UpdateItem", "SessionTable", "dynamodb:LeadingKeys", "acme/1"),
    ],
    ids=lambda demand: f"{demand.action} {demand.resource}",
)
def test_the_role_reaches_a_tenant_s_state_and_that_of_no_like_named_one(demand):
    assert allowed("acme", demand)
    for another in ("acm", "acme2", "acme.x", "ac", "default"):
        assert not allowed(another, demand)


@pytest.mark.parametrize(
    "demand",
    [
        Demand("s3:ListBucket", "SessionBucket", "s3:prefix", ""),
        Demand("s3:ListBucket", "SessionBucket"),
        Demand("s3:GetObject", "SessionBucket/results/job"),
        Demand("s3:PutObject", "SessionBucket/attachments/acme/note"),
        Demand("s3:DeleteObject", "SessionBucket/sessions/acme/chat/1.zst"),
        Demand("dynamodb:Query", "SessionTable"),
        Demand("dynamodb:Scan", "SessionTable"),
    ],
    ids=lambda demand: f"{demand.action} {demand.resource}",
)
def test_the_role_reaches_nothing_else(demand):
    assert not allowed("acme", demand)


def test_only_the_worker_may_assume_the_role_and_only_for_one_tenant():
    template = load(ROOT / "infra" / "tenants.yml")
    wanted = properties(template, "TenantRole")
    [trust] = wanted["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"AWS": {"Fn::GetAtt": ["WorkerRole", "Arn"]}}
    assert trust["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert trust["Condition"] == {
        "StringLike": {"aws:RequestTag/tenant": "?*"},
        "ForAllValues:StringEquals": {"aws:TagKeys": "tenant"},
    }
    policy = properties(template, "AssumeTenantRole")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert policy["Roles"] == [{"Ref": "WorkerRole"}]
    assert statement["Action"] == trust["Action"]
    assert statement["Resource"] == {"Fn::GetAtt": ["TenantRole", "Arn"]}
