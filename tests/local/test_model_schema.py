"""Examples for JSON Schemas."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.model.schema import example

limits = st.integers(-50, 50)
leaves = st.one_of(
    st.sampled_from(["string", "number", "boolean", "null"]).map(lambda kind: {"type": kind}),
    st.builds(lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span},
              limits, st.integers(0, 9)),
    st.builds(lambda low, span: {"type": "string", "minLength": low, "maxLength": low + span},
              st.integers(0, 9), st.integers(0, 9)),
    st.builds(lambda choices: {"enum": choices}, st.lists(limits, min_size=1)),
    st.builds(lambda value: {"const": value}, st.none() | st.text()),
    st.just({"type": ["null", "string"]}),
)  # fmt: skip
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda items, fewest: {"type": "array", "items": items, "minItems": fewest},
            inner,
            st.integers(0, 2),
        ),
        st.builds(
            lambda fields: {
                "type": "object",
                "properties": fields,
                "required": list(fields)[:2],
                "additionalProperties": False,
            },
            st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
        st.builds(lambda first, second: {"anyOf": [first, second]}, inner, inner),
    ),
    max_leaves=10,
)


@given(schemas, st.text(max_size=20))
def test_an_example_fits_its_schema(schema, text):
    jsonschema.validate(example(schema, text), schema)


@pytest.mark.parametrize("kind", ["date-time", "date", "email", "uri", "uuid"])
def test_a_string_has_its_format(kind):
    schema = {"type": "string", "format": kind}
    jsonschema.validate(example(schema, "x"), schema, format_checker=jsonschema.FormatChecker())


def test_only_strings_that_are_named_like_an_answer_hold_the_text():
    schema = {"properties": {"answer": {"type": "string"}, "city": {"type": "string"}}}
    assert example(schema, "hello") == {"answer": "hello", "city": "example city"}


def test_references_are_followed():
    schema = {"$ref": "#/$defs/count", "$defs": {"count": {"type": "integer", "minimum": 7}}}
    assert example(schema, "x") == 7


def test_a_recursive_schema_ends():
    schema = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["children"],
    }
    jsonschema.validate(example(schema, "x"), schema)


def test_a_schema_that_only_refers_to_itself_ends():
    assert example({"$ref": "#"}, "x") == "x"
