"""An example value for a JSON Schema: enough of the language for structured output."""

from collections.abc import Mapping, Sequence

_DEEPEST = 8  # a recursive schema ends here, with only what it requires
_MOST_ITEMS = 1000
_BY_FORMAT = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_ANSWERING = {"", "answer", "content", "message", "reply", "response", "result", "summary", "text"}

Schema = Mapping[str, object]


def example(schema: object, text: str) -> object:
    """A value that fits `schema`; strings named like an answer hold `text`.

    Not covered: `pattern`, `not`, `if`, and combinations of keywords that exclude each other.
    """
    return _value(schema, schema, "", text, 0)


def _value(schema: object, root: object, name: str, text: str, depth: int) -> object:
    if not isinstance(schema, Mapping):
        return text
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    choices = schema.get("enum")
    if isinstance(choices, Sequence) and choices:
        return choices[0]
    match _type_of(schema):
        case "object":
            return _object(schema, root, text, depth)
        case "array":
            return _array(schema, root, name, text, depth)
        case "integer":
            return int(_number(schema))
        case "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, name, text)


def _resolved(schema: Schema, root: object) -> Schema:
    """Follow local references and take the first of several alternatives."""
    for _ in range(_DEEPEST):
        reference = schema.get("$ref")
        alternatives = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(reference, str):
            target = _pointed(root, reference)
        elif isinstance(alternatives, Sequence):
            target = alternatives[0]
        else:
            return schema
        if not isinstance(target, Mapping):
            return {}
        rest = {k: v for k, v in schema.items() if k not in {"$ref", "anyOf", "oneOf"}}
        schema = {**rest, **target}
    return {}


def _pointed(root: object, reference: str) -> object:
    for part in reference.removeprefix("#").split("/")[1:]:
        root = root.get(part) if isinstance(root, Mapping) else None
    return root


def _type_of(schema: Schema) -> object:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((each for each in kind if each != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    if kind is None and "items" in schema:
        return "array"
    return kind


def _object(schema: Schema, root: object, text: str, depth: int) -> dict[str, object]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    required = required if isinstance(required, list) else []
    wanted = dict.fromkeys([*(properties if depth < _DEEPEST else ()), *required])
    if depth > 2 * _DEEPEST:
        return {}
    return {
        name: _value(properties.get(name, {}), root, str(name), text, depth + 1) for name in wanted
    }


def _array(schema: Schema, root: object, name: str, text: str, depth: int) -> list[object]:
    fewest = schema.get("minItems")
    fewest = fewest if isinstance(fewest, int) else 0
    count = fewest if depth >= _DEEPEST or schema.get("maxItems") == 0 else max(fewest, 1)
    count = min(count, _MOST_ITEMS)
    if depth > 2 * _DEEPEST:
        return []
    return [_value(schema.get("items"), root, name, text, depth + 1) for _ in range(count)]


def _number(schema: Schema) -> float:
    """1, moved into the schema's range."""
    value = 1.0
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if isinstance(low, int | float):
        value = max(value, low)
    if isinstance(above, int | float):
        value = max(value, above + 1)
    if isinstance(high, int | float):
        value = min(value, high)
    if isinstance(below, int | float):
        value = min(value, below - 1)
    return value


def _string(schema: Schema, name: str, text: str) -> str:
    fitting = _BY_FORMAT.get(str(schema.get("format")))
    if fitting is not None:
        return fitting
    value = text if name.lower() in _ANSWERING else f"example {name}"
    shortest, longest = schema.get("minLength"), schema.get("maxLength")
    if isinstance(shortest, int):
        value = value.ljust(shortest, ".")
    return value[:longest] if isinstance(longest, int) else value
