"""Which model the worker of the local stack talks to."""

import pytest

from worker.local.errors import LocalStackError
from worker.local.model_settings import real_model_settings, scripted_model_settings


def test_the_scripted_model_needs_no_key_and_switches_bedrock_off():
    assert scripted_model_settings("http://127.0.0.1:1") == {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CODE_USE_BEDROCK": "0",
    }


def test_a_real_model_gets_the_callers_access_and_nothing_else():
    environ = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "https://x", "AWS_PROFILE": "p"}
    assert real_model_settings(environ) == {
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": "https://x",
        "CLAUDE_CODE_USE_BEDROCK": "0",
    }


@pytest.mark.parametrize(
    "access",
    [
        {"BEDROCK_ACCESS_KEY_ID": "a", "BEDROCK_SECRET_ACCESS_KEY": "s"},
        {"BEDROCK_BEARER_TOKEN": "b", "BEDROCK_REGION": "eu-west-1"},
    ],
)
def test_bedrock_gets_bedrocks_access(access):
    environ = {"CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_API_KEY": "k", **access}
    assert real_model_settings(environ) == {"CLAUDE_CODE_USE_BEDROCK": "1", **access}


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "set ANTHROPIC_API_KEY, or CLAUDE_CODE_USE_BEDROCK=1"),
        ({"ANTHROPIC_API_KEY": ""}, "set ANTHROPIC_API_KEY"),
        ({"CLAUDE_CODE_USE_BEDROCK": "0", "BEDROCK_BEARER_TOKEN": "b"}, "set ANTHROPIC_API_KEY"),
        ({"CLAUDE_CODE_USE_BEDROCK": "1"}, "but no access to Bedrock"),
        (
            {"CLAUDE_CODE_USE_BEDROCK": "1", "BEDROCK_ACCESS_KEY_ID": "a"},
            "BEDROCK_SECRET_ACCESS_KEY",
        ),
    ],
)
def test_without_access_to_a_real_model_it_is_said_what_is_missing(environ, problem):
    with pytest.raises(LocalStackError, match=problem):
        real_model_settings(environ)
