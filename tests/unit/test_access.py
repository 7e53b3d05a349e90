import json

import pytest

from contracts import sign
from worker.access_settings import read_producers, read_tenants
from worker.domain.access import Producer
from worker.domain.admission import admit
from worker.domain.job import Job
from worker.domain.message import InboundMessage
from worker.domain.policy import AttachmentRules, Policy, RefusedOptionError
from worker.domain.tenancy import TenantPolicy, policy_of, usage_of, widenings
from worker.domain.usage import UsageLimits, budgets, rates

SENT = 1_800_000_000.0
ACME = Producer("acme-bot", ("acme-key", "acme-key-2"), ("acme",), ("team-*",))
POLICY = Policy(auth_tokens=("master",), producers=(ACME, Producer("other", ("other-key",))))


def message(token=None, *, chat="team-1", tenant="acme", signature=None, sent_at=SENT, **fields):
    body = json.dumps({"user_message": "hi", "chat_id": chat, "tenant_id": tenant, **fields})
    group = chat if tenant == "default" else f"{tenant}/{chat}"
    attributes = {"auth_token": token} if token else {}
    if signature:
        attributes["auth_signature"] = sign(body, *signature)
    return InboundMessage("m-1", group, body, attributes, sent_at=sent_at)


@pytest.mark.parametrize("token", ["acme-key", "acme-key-2", "master", "other-key"])
def test_a_producer_writes_into_its_chats_by_any_of_its_keys(token):
    assert isinstance(admit(message(token), POLICY), Job)


@pytest.mark.parametrize(
    "where", [{"tenant": "other"}, {"chat": "private"}, {"tenant": "default", "chat": "team-1"}]
)
def test_a_producer_cannot_write_into_another_s_chats_by_token_or_signature(where):
    by_token = admit(message("acme-key", job_id="victim-7", **where), POLICY)
    signed = message(signature=("acme-key", int(SENT)), job_id="victim-7", **where)
    for rejection in (by_token, admit(signed, POLICY)):
        assert rejection.reason == "chat_not_allowed"
        assert (rejection.job_id, rejection.request) == ("sqs-m-1", None)  # touches no other's job
        assert "acme-bot" in rejection.error


def test_without_a_master_token_only_producers_get_in():
    policy = Policy(auth_tokens=(), producers=(ACME,))
    assert isinstance(admit(message("acme-key"), policy), Job)
    assert admit(message("master"), policy).reason == "unauthorized"


@pytest.mark.parametrize(("apart", "fine"), [(0, True), (-60, True), (60, True), (61, False)])
def test_a_copy_that_is_sent_later_falls_out_of_the_replay_window(apart, fine):
    policy = Policy(auth_tokens=("k",), signature_window_seconds=60)
    outcome = admit(message(signature=("k", int(SENT) - apart)), policy)
    assert isinstance(outcome, Job) == fine
    if not fine:
        assert outcome.reason == "unauthorized"
        assert "SIGNATURE_WINDOW_SECONDS" in outcome.error


def test_how_long_a_message_waited_in_the_queue_does_not_matter():
    # Only the sending counts, and that is SQS's SentTimestamp, however late it is received.
    policy = Policy(auth_tokens=("k",), signature_window_seconds=1)
    assert isinstance(admit(message(signature=("k", int(SENT))), policy), Job)


def test_a_tenant_s_policy_narrows_and_a_request_narrows_that():
    tenants = {
        "acme": TenantPolicy(tools=("Read",), max_turns=5, models=("haiku",), default_model="haiku")
    }
    policy = Policy(tenants=tenants)
    job = admit(message(options={"max_turns": 3}), policy)
    assert (job.spec.tools, job.spec.max_turns, job.spec.model) == (("Read",), 3, "haiku")
    for asked in ({"max_turns": 6}, {"allowed_tools": ["Write"]}):
        assert admit(message(options=asked), policy).reason == "option_not_allowed"
    assert admit(message(model="sonnet"), policy).reason == "model_not_allowed"
    assert admit(message(tenant="zeta"), policy).spec.max_turns == Policy().max_turns


def test_a_tenant_cannot_get_a_model_that_the_deployment_has_not():
    policy = Policy(models=("haiku",), tenants={"acme": TenantPolicy(models=("*",))})
    assert not policy_of(policy, "acme").allows_model("opus")


def test_every_other_tenant_can_be_turned_away():
    policy = Policy(tenants={"acme": TenantPolicy(), "*": TenantPolicy(allowed=False)})
    assert isinstance(admit(message(), policy), Job)
    assert admit(message(tenant="zeta"), policy).reason == "tenant_not_allowed"
    with pytest.raises(RefusedOptionError):
        policy_of(policy, "zeta")


def test_of_two_limits_on_usage_the_smaller_one_counts():
    policy = Policy(
        usage=UsageLimits(tenant_daily_budget_usd=10, chat_jobs_per_minute=5),
        tenants={"acme": TenantPolicy(usage=UsageLimits(tenant_daily_budget_usd=20))},
    )
    assert usage_of(policy, "acme") == UsageLimits(
        tenant_daily_budget_usd=10, chat_jobs_per_minute=5
    )


def test_a_policy_that_would_widen_is_named():
    tenants = {
        "acme": TenantPolicy(tools=("Bash",), permission_modes=("bypassPermissions",), max_turns=99)
    }
    text = "\n".join(widenings(Policy(), tenants))
    for name in ("acme.tools: Bash", "bypassPermissions", "99"):
        assert name in text


def test_accounts_are_of_the_day_of_the_first_claim_and_never_a_chat_s_key():
    limits = UsageLimits(1, 2, 3, 4, 5)
    midnight = 20_000 * 86400.0
    before = budgets(limits, "acme/1:2", midnight - 1)
    after = budgets(limits, "acme/1:2", midnight)
    assert [a.limit for a in after] == [3_000_000, 2_000_000, 1_000_000]
    assert [b.key == a.key for b, a in zip(before, after, strict=True)] == [False, False, True]
    # The threads of a chat share its budget; chats and tenants do not.
    assert budgets(limits, "acme/1:3", midnight) == after
    assert {a.key for a in after}.isdisjoint(a.key for a in budgets(limits, "zeta/1:2", midnight))
    assert all("#" in account.key for account in (*after, *rates(limits, "acme/1", midnight)))
    assert budgets(UsageLimits(), "acme/1", midnight) == ()


def test_producers_are_read_from_json_yaml_or_a_file(tmp_path):
    file = tmp_path / "producers.yml"
    file.write_text("- {name: bot, tokens: [k1, k2], tenants: [acme]}\n")
    expected = (Producer("bot", ("k1", "k2"), ("acme",), ("*",)),)
    assert read_producers(str(file)) == expected
    assert read_producers('[{"name": "bot", "tokens": ["k1", "k2"], "tenants": ["acme"]}]') == (
        expected
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{name: a, tokens: [hunter2]}, {name: b, tokens: [hunter2]}]", "is a's, too"),
        ("[{name: a, tokens: []}]", "0.tokens"),
        ("[{name: a, tokens: [' ']}]", "a token is empty"),
        ("[{name: a, token: hunter2}]", "0.token"),
        ("{hunter2", "neither JSON nor YAML"),
        ("/nowhere/hunter2.yml", "cannot be read"),
        ("hunter2", "tuple"),
    ],
)
def test_a_wrong_list_of_producers_is_explained_without_its_tokens(text, says):
    with pytest.raises(ValueError) as caught:
        read_producers(text)
    assert says in str(caught.value)
    if "/" not in text:
        assert "hunter2" not in str(caught.value)


def test_a_wrong_policy_names_tenant_and_field():
    with pytest.raises(ValueError) as caught:
        read_tenants("{acme: {max_turns: 0, tool: [Read]}, 'a/b': {}}")
    for part in ("acme.max_turns", "acme.tool", "a/b"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("attachments", "says"),
    [
        ([{"data": "eA=="}] * 3, "more than the 2"),
        ([{"data": "TVqQAAM="}], "neither an image"),
        ([{"name": "x.png", "data": "JVBERi0xLjQK"}], "application/pdf"),
        ([{"data": "eHh4eHh4eHh4eHg="}], "11 bytes"),
        ([{"key": "attachments/other/secret"}], "attachments/acme/"),
        ([{"key": "attachments/acmeevil/x"}], "attachments/acme/"),
    ],
)
def test_an_attachment_that_is_not_allowed_is_rejected_before_anything_runs(attachments, says):
    policy = Policy(attachments=AttachmentRules(("image", "text"), count=2, size=10))
    rejection = admit(message(attachments=attachments), policy)
    assert rejection.reason == "attachment_not_allowed"
    assert says in rejection.error


def test_attachments_within_the_rules_are_admitted():
    assert isinstance(admit(message(attachments=[{"data": "eA=="}]), Policy()), Job)
