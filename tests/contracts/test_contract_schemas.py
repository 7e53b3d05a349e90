import json

import pytest
from jsonschema import Draft202012Validator

from contracts import schema_export

NAMES = [
    "job-cancelled.schema.json",
    "job-completed.schema.json",
    "job-failed.schema.json",
    "job-progress.schema.json",
    "job-rejected.schema.json",
    "job-started.schema.json",
    "request.schema.json",
    "webhook-disabled.schema.json",
    "webhook-test.schema.json",
]


def test_the_schemas_are_what_the_models_say():
    assert schema_export.drift(schema_export.DIRECTORY) == ""


def test_every_message_has_a_schema():
    present = sorted(path.name for path in schema_export.DIRECTORY.iterdir())
    assert present == ["asyncapi.json", *NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_a_valid_draft_2020_12_schema(name):
    schema = json.loads((schema_export.DIRECTORY / name).read_text("utf-8"))
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$schema"]
    Draft202012Validator.check_schema(schema)


def documented(schema):
    """Every field of every object in the schema, with its description."""
    for part in [schema, *schema.get("$defs", {}).values()]:
        yield from part.get("properties", {}).items()


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_described(name):
    schema = json.loads((schema_export.DIRECTORY / name).read_text("utf-8"))
    assert [field for field, part in documented(schema) if not part.get("description")] == []


def test_check_shows_a_drift_and_fails_and_write_mends_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(schema_export, "DIRECTORY", tmp_path)
    assert schema_export.main([]) == 0
    assert schema_export.main(["--check"]) == 0
    request = tmp_path / "request.schema.json"
    request.write_text(request.read_text("utf-8").replace("JobRequest", "Request"), "utf-8")
    (tmp_path / "old.schema.json").write_text("{}\n", "utf-8")
    capsys.readouterr()
    assert schema_export.main(["--check"]) == 1
    shown = capsys.readouterr().out
    assert '-  "title": "Request"' in shown
    assert '+  "title": "JobRequest"' in shown
    assert "old.schema.json" in shown
    assert schema_export.main([]) == 0
    assert schema_export.drift(tmp_path) == ""


def test_an_unknown_argument_is_refused(capsys):
    assert schema_export.main(["--chekc"]) == 2
    assert "--chekc" in capsys.readouterr().err
