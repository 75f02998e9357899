"""A schema as a grammar: what it allows is what the schema allows, and what cannot be held to is refused in words."""

from __future__ import annotations

import json

import pytest

from tiny_gguf import write_tiny_gguf
from understudy.errors import UsageError
from understudy.run.generate.engine import Engine
from understudy.run.generate.sampling import Sampling
from understudy.run.generate.schema import schema_grammar

NODE = {"type": "object", "properties": {"left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "name": {"enum": ["a", "b"]}}, "required": ["left", "name"]}
SCHEMAS = {
    "flags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    "short": {"type": "string", "minLength": 2, "maxLength": 5},
    "digit": {"type": "integer", "minimum": -2, "maximum": 12},
    "natural": {"type": "integer", "minimum": 0},
    "number": {"type": "number"},
    "either": {"type": ["null", "boolean"]},
    "const": {"const": {"é\n\"": [1, None]}},
    "empty": {"type": "array", "maxItems": 0},
    "optional": {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "required": ["b"]},
    "all optional": {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}},
    "map": {"type": "object", "additionalProperties": {"type": "null"}},
    "tree": NODE,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
    with Engine.open(write_tiny_gguf(tmp_path_factory.mktemp("schema") / "tiny.gguf", context=1024), threads=1) as engine:
        yield engine


def fits(value: object, name: str) -> bool:
    """The schemas above, checked by hand."""
    if name == "flags":
        return isinstance(value, list) and 2 <= len(value) <= 4 and all(isinstance(one, bool) for one in value)
    if name == "short":
        return isinstance(value, str) and 2 <= len(value) <= 5
    if name in ("digit", "natural"):
        return isinstance(value, int) and not isinstance(value, bool) and (-2 <= value <= 12 if name == "digit" else value >= 0)
    if name == "number":
        return isinstance(value, int | float)
    if name == "either":
        return value is None or isinstance(value, bool)
    if name == "const":
        return value == {"é\n\"": [1, None]}
    if name == "empty":
        return value == []
    if name == "optional":
        return value in ({"b": 2}, {"a": 1, "b": 2}, {"b": 2, "c": 3}, {"a": 1, "b": 2, "c": 3})
    if name == "all optional":
        return value in ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2})
    if name == "map":
        return isinstance(value, dict) and all(one is None for one in value.values())
    return value is None or (isinstance(value, dict) and set(value) == {"left", "name"} and value["name"] in ("a", "b") and fits(value["left"], name))


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_fit_the_schema(engine, name):
    answers = [engine.complete("the", Sampling(max_tokens=300, temperature=1.5, seed=seed, json_schema=SCHEMAS[name])) for seed in range(12)]
    ended = [answer.text for answer in answers if answer.finish == "end"]
    assert len(ended) >= 6
    for text in ended:
        value = json.loads(text)
        assert fits(value, name), text
        assert name == "number" or text == json.dumps(value, ensure_ascii=False) or "\\" in text


def test_optional_properties_come_and_go(engine):
    seen = {engine.complete("the", Sampling(temperature=2.0, seed=seed, json_schema=SCHEMAS["optional"])).text for seed in range(40)}
    assert len(seen) >= 3


@pytest.mark.parametrize(("schema", "words"), [
    ([], "json_schema is list, not a dict"),
    ({"type": "nonsense"}, "the type 'nonsense'"),
    ({"frobnicate": 3}, "the type None"),
    ({"type": "string", "pattern": "a+"}, "holds 'pattern'"),
    ({"type": "string", "format": "date"}, "holds 'format'"),
    ({"not": {}}, "json_schema holds"),
    ({"enum": []}, "enum without values"),
    ({"anyOf": []}, "anyOf without schemas"),
    ({"anyOf": [{"type": "null"}], "type": "null"}, "holds 'type'"),
    ({"$ref": "#/$defs/none"}, "which it does not hold"),
    ({"$ref": "http://x/y"}, "refers to 'http://x/y'"),
    ({"type": "array", "maxItems": 10**6}, "maxItems=1000000"),
    ({"type": "array", "minItems": 3, "maxItems": 2}, "which nothing fits"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "integers from 5 to 3"),
    ({"type": "integer", "maximum": 3}, "integers from None to 3"),
    ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, "requires ['b']".replace("[", r"\[").replace("]", r"\]")),
    ({"type": "object", "properties": {"a": {}}, "required": [[]]}, "not all among its properties"),
    ({"type": "object", "properties": {"a": 5}}, "holds 5 where a schema"),
    ({"enum": ["x" * 40_000]}, "bytes"),
    ({"const": float("nan")}, "not JSON"),
    ({"enum": [{1, 2}]}, "not JSON"),
])  # fmt: skip
def test_what_cannot_be_held_to_is_refused(schema, words):
    with pytest.raises(UsageError, match=words):
        Sampling(json_schema=schema)


def test_a_deep_schema_is_refused():
    deep: dict = {"type": "null"}
    for _ in range(20):
        deep = {"type": "array", "items": deep}
    with pytest.raises(UsageError, match="too deep"):
        schema_grammar(deep)
    for _ in range(5000):
        deep = {"type": "array", "items": deep}
    with pytest.raises(UsageError, match="json_schema"):
        schema_grammar(deep)
