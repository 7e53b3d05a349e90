"""Write the JSON Schemas of requests and events, and the AsyncAPI document that puts them together:
python -m contracts.schema_export [--check]

They are checked in, for readers in other languages. `--check` writes nothing, shows what
would change and exits with 1 if anything would.
"""

import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from contracts.asyncapi import document
from contracts.events import EVENTS
from contracts.request import JobRequest

DIRECTORY: Final = Path(__file__).parent / "schemas"

_MODELS: Final[dict[str, tuple[type[BaseModel], JsonSchemaMode]]] = {
    "request": (JobRequest, "validation"),
    **{
        event.model_fields["dataschema"].default.split(":")[-2]: (event, "serialization")
        for event in EVENTS
    },
}


class _Generator(GenerateJsonSchema):
    """Pydantic's schemas, without a title on each field that only repeats its name."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


def schemas() -> dict[str, str]:
    """The text of every document, by file name."""
    texts = {}
    for name, (model, mode) in _MODELS.items():
        # An event's `dataschema` names the form of its data alone, so the whole has another name.
        subject = name if model is JobRequest else f"{name}-event"
        schema = {
            "$schema": _Generator.schema_dialect,
            "$id": f"urn:agent-worker:schema:{subject}:1",
            **model.model_json_schema(mode=mode, schema_generator=_Generator),
        }
        texts[f"{name}.schema.json"] = _text(schema)
    events = [model for model, _ in _MODELS.values() if model is not JobRequest]
    texts["asyncapi.json"] = _text(document(events, _Generator))
    return texts


def _text(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def drift(directory: Path) -> str:
    """What would change in the directory, as a unified diff; empty if nothing."""
    expected = schemas()
    present = {path.name: path.read_text("utf-8") for path in directory.glob("*.json")}
    lines: list[str] = []
    for name in sorted(expected.keys() | present.keys()):
        lines += difflib.unified_diff(
            present.get(name, "").splitlines(keepends=True),
            expected.get(name, "").splitlines(keepends=True),
            fromfile=f"{name} (checked in)",
            tofile=f"{name} (from the models)",
        )
    return "".join(lines)


def write(directory: Path) -> None:
    """Make the directory hold exactly the schemas."""
    directory.mkdir(exist_ok=True)
    expected = schemas()
    for path in directory.glob("*.json"):
        if path.name not in expected:
            path.unlink()
    for name, text in expected.items():
        (directory / name).write_text(text, "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given not in ([], ["--check"]):
        sys.stderr.write(f"{' '.join(given)}: not an option; use --check or nothing\n")
        return 2
    if not given:
        write(DIRECTORY)
        return 0
    if difference := drift(DIRECTORY):
        sys.stdout.write(difference)
        sys.stderr.write("The schemas differ from the models; run scripts/schemas.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
