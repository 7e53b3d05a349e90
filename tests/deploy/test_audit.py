"""What scripts/audit concludes, and that no suppression of it is unexplained."""

import json
import re
import runpy

import pytest
import yaml

from tests.deploy.templates import ROOT

judge = runpy.run_path(str(ROOT / "infra" / "advisories.py"))["judge"]
CLEAN = {"name": "boto3", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "zstandard", "skip_reason": "Dependency not found on PyPI"}
FLAW = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": [], "description": "..."}


def said(*packages):
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("run", "text", "failed"),
    [
        ((0, said(CLEAN), ""), "none known in 1 packages", False),
        ((0, said(CLEAN, UNKNOWN), ""), "1 SKIPPED", False),
        ((0, said(UNKNOWN), ""), "SKIPPED: the advisory database here knows none", False),
        ((1, "", "requests.exceptions.ConnectionError: refused"), "SKIPPED: .* reached", False),
        ((1, "", "pip_audit._service.interface.ServiceError"), "SKIPPED: .* reached", False),
        ((1, said({**CLEAN, "vulns": [FLAW]}, UNKNOWN), ""), "boto3 1.0: PYSEC-2026-1", True),
        ((1, "", "usage: pip-audit: error: no such option"), "FAILED", True),
    ],
)
def test_only_what_was_looked_up_is_free_of_vulnerabilities(run, text, failed):
    verdict = judge(*run)
    assert re.search(text, verdict.text)
    assert verdict.failed is failed


def test_each_suppression_of_checkov_has_its_reason_and_there_are_none_elsewhere():
    text = (ROOT / "infra" / "checkov.yml").read_text()
    for check in yaml.safe_load(text)["skip-check"]:
        assert re.search(rf"- {check} # .{{20}}", text), check
    sources = [*(ROOT / "infra").glob("*.yml"), ROOT / "serverless.yml"]
    assert not [path for path in sources if "checkov:skip" in path.read_text()]


def test_ci_runs_the_audit():
    assert "\nscripts/audit\n" in (ROOT / ".ci" / "run").read_text()
