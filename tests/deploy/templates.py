"""CloudFormation templates as plain dicts, and what IAM statements are in them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RESOURCES = ROOT / "infra" / "resources.yml"


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: !Ref X is {"Ref": X}, !Sub X is {"Fn::Sub": X}."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    match node:
        case yaml.ScalarNode():
            value = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case yaml.MappingNode():
            value = loader.construct_mapping(node, deep=True)
        case _:
            raise TypeError(node)
    if suffix == "GetAtt":
        value = value.split(".")
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


def load(path: Path) -> dict[str, Any]:
    text = path.read_text()
    template: dict[str, Any] = (
        json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=_Loader)
    )
    return template


def parameter(template: dict[str, Any], name: str) -> Any:
    return template["Parameters"][name]["Default"]


def resource(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]
    return found


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = resource(template, name)["Properties"]
    return found


def created(template: dict[str, Any], **parameters: str) -> dict[str, Any]:
    """The resources that a stack with these parameters has: conditions are decided, and what is
    AWS::NoValue is gone. Other functions stay as they are written.
    """
    given = {name: found.get("Default") for name, found in template["Parameters"].items()}
    given |= parameters
    holds = {
        name: _holds(condition, template["Conditions"], given)
        for name, condition in template["Conditions"].items()
    }
    return {
        name: _decided(resource, holds, given)
        for name, resource in template["Resources"].items()
        if holds.get(resource.get("Condition"), True)
    }


def _holds(condition: dict[str, Any], conditions: dict[str, Any], given: dict[str, Any]) -> bool:
    match condition:
        case {"Condition": name}:
            return _holds(conditions[name], conditions, given)
        case {"Fn::Not": [inner]}:
            return not _holds(inner, conditions, given)
        case {"Fn::Equals": [{"Ref": name}, value]}:
            return bool(given[name] == value)
    raise ValueError(condition)


def _decided(value: Any, holds: dict[str, bool], given: dict[str, Any]) -> Any:
    match value:
        case {"Fn::If": [name, yes, no]}:
            return _decided(yes if holds[name] else no, holds, given)
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"Ref": name}:
            return given.get(name, value)
        case dict():
            inner = {key: _decided(part, holds, given) for key, part in value.items()}
            return {key: part for key, part in inner.items() if part is not None}
        case list():
            parts = [_decided(part, holds, given) for part in value]
            return [part for part in parts if part is not None]
    return value


@dataclass(frozen=True)
class Statement:
    """An IAM statement of an identity: which resource it is written at, and its lists."""

    at: str
    sid: str
    actions: tuple[str, ...]
    resources: tuple[Any, ...]


def identity_statements(template: dict[str, Any]) -> Iterator[Statement]:
    """Every statement that is granted to a role of the template."""
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        if resource["Type"] in {"AWS::IAM::Policy", "AWS::IAM::RolePolicy"}:
            documents.append(properties["PolicyDocument"])
        for document in documents:
            for statement in document["Statement"]:
                assert statement["Effect"] == "Allow"
                yield Statement(
                    at=name,
                    sid=statement["Sid"],
                    actions=tuple(_listed(statement["Action"])),
                    resources=tuple(_listed(statement["Resource"])),
                )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
