"""The AsyncAPI document, as its public parser reads it."""

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from contracts import schema_export

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((schema_export.DIRECTORY / "asyncapi.json").read_text("utf-8"))
ERROR, WARNING, INFORMATION = 0, 1, 2


@pytest.fixture(scope="module")
def parsed():
    if shutil.which("npm") is None:
        pytest.skip("npm is not on PATH: install Node.js 20.19 or newer for AsyncAPI's parser")
    # npm's registry and cache are configured in the developer's own home.
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    npm = {"npm_config_userconfig": str(home / ".npmrc"), "npm_config_cache": str(home / ".npm")}
    subprocess.run([ROOT / "scripts" / "setup-node"], check=True, env=os.environ | npm)

    def parse(document):
        done = subprocess.run(
            ["node", Path(__file__).with_name("asyncapi_check.mjs")],
            input=json.dumps(document),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    return parse


@pytest.mark.integration
def test_the_public_parser_accepts_the_document_and_finds_every_message(parsed):
    found = parsed(DOCUMENT)
    assert [p for p in found["problems"] if p["severity"] < INFORMATION] == []
    assert sorted(found["messages"]) == sorted(DOCUMENT["components"]["messages"])


@pytest.mark.integration
def test_the_public_parser_would_notice_a_mistake(parsed):
    broken = json.loads(json.dumps(DOCUMENT))
    broken["operations"]["takeJobs"]["channel"]["$ref"] = "#/channels/nowhere"
    found = parsed(broken)
    assert [p for p in found["problems"] if p["severity"] == ERROR]


def test_every_event_schema_is_in_the_document():
    events = set(schema_export.schemas()) - {"asyncapi.json", "request.schema.json"}
    assert len(DOCUMENT["components"]["messages"]) == len(events) + 1
    for name in ("resultTopic", "eventBus"):
        published = set(DOCUMENT["channels"][name]["messages"])
        assert len(published) == len(events) - 1
        assert "WebhookTestEvent" not in published  # it goes to one subscription only
    assert len(DOCUMENT["channels"]["webhooks"]["messages"]) == len(events)
