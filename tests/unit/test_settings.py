import pytest

from worker.domain.errors import SettingsError
from worker.settings import Settings

GOOD = {
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/jobs.fifo",
    "DLQ_URL": "https://sqs.us-east-1.amazonaws.com/1/dead.fifo",
    "SESSION_TABLE": "sessions",
    "JOB_TABLE": "jobs",
    "SESSION_BUCKET": "bucket",
    "RESULT_TOPIC_ARN": "arn:aws:sns:us-east-1:1:results",
    "EVENT_BUS_NAME": "results",
    "SDK_CLIENT_AUTH_TOKEN": "old-token, new-token",
    "ANTHROPIC_API_KEY": "sk-key",
}


def problems(**changes):
    environ = {name: item for name, item in {**GOOD, **changes}.items() if item is not None}
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    return caught.value.problems


def test_a_complete_environment_gives_the_defaults_and_several_tokens():
    settings = Settings.from_env(GOOD)
    assert settings.policy().auth_tokens == ("old-token", "new-token")
    assert settings.policy().lease_seconds == 120
    assert settings.project_path == "-tmp-workspace"
    assert "Bash" not in settings.agent_tools


def test_every_problem_is_reported_at_once():
    found = problems(
        QUEUE_URL=None,
        JOB_TABLE="",
        LEASE_SECONDS="soon",
        MAX_ATTEMPTS="0",
        SDK_CLIENT_AUTH_TOKEN=None,
        ANTHROPIC_API_KEY=None,
        DLQ_URL="https://sqs.example/standard",
    )
    text = "\n".join(found)
    for name in (
        "QUEUE_URL",
        "JOB_TABLE",
        "LEASE_SECONDS",
        "MAX_ATTEMPTS",
        "SDK_CLIENT_AUTH_TOKEN",
        "ANTHROPIC_API_KEY",
        "DLQ_URL",
    ):
        assert name in text
    assert len(found) == 7
    assert "'soon'" in text


def test_no_problem_shows_a_secret():
    found = problems(SDK_CLIENT_AUTH_TOKEN="hunter2-token", LEASE_SECONDS="x")
    assert "hunter2" not in "\n".join(found)
    assert "hunter2" not in repr(Settings.from_env({**GOOD, "ANTHROPIC_API_KEY": "hunter2"}))


def test_open_access_is_written_down_and_not_assumed():
    settings = Settings.from_env({**GOOD, "SDK_CLIENT_AUTH_TOKEN": "", "AUTH_MODE": "open"})
    assert settings.policy().auth_tokens is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SDK_CLIENT_AUTH_TOKEN": " , "}, "SDK_CLIENT_AUTH_TOKEN: holds no token"),
        ({"ALLOWED_PERMISSION_MODES": ","}, "ALLOWED_PERMISSION_MODES: nothing"),
        ({"ALLOWED_PERMISSION_MODES": "dontAsk,yolo"}, "yolo is no permission mode"),
        ({"DEFAULT_MODEL": "gpt-4"}, "'gpt-4' is not among ALLOWED_MODELS"),
        ({"AGENT_TOOLS": "Read,Bash(git:*)"}, "'Bash(git:*)' is not the name of a tool"),
    ],
)
def test_settings_are_checked_against_each_other(changes, says):
    [problem] = problems(**changes)
    assert says in problem


def test_a_dead_letter_queue_that_is_the_job_queue_is_refused():
    assert "would run again" in problems(DLQ_URL=GOOD["QUEUE_URL"])[0]


@pytest.mark.parametrize(
    "access",
    [
        {"BEDROCK_ACCESS_KEY_ID": "AKIA", "BEDROCK_SECRET_ACCESS_KEY": "x"},
        {"BEDROCK_ROLE_ARN": "arn:aws:iam::123456789012:role/bedrock"},
        {"BEDROCK_BEARER_TOKEN": "x"},
    ],
)
def test_bedrock_takes_keys_a_role_or_a_bearer_token(access):
    environ = {**GOOD, "CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_API_KEY": "", **access}
    assert Settings.from_env(environ).claude_code_use_bedrock


def test_half_a_key_pair_names_the_missing_half():
    found = problems(CLAUDE_CODE_USE_BEDROCK="1", BEDROCK_ACCESS_KEY_ID="AKIA")
    assert found[0].startswith("BEDROCK_SECRET_ACCESS_KEY: is not set")


def test_lists_may_be_separated_by_commas_or_blanks():
    settings = Settings.from_env({**GOOD, "AGENT_TOOLS": "Read, Bash  Write"})
    assert settings.agent_tools == ("Read", "Bash", "Write")
