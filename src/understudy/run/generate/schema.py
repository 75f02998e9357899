"""A JSON schema as a GBNF grammar (llama.cpp, grammars/README.md): exactly the values of the schema, written one way.

Own, because llama.cpp's builds with llguidance answer without any constraint where that gives up: on a keyword it does not
know, and on every object with a sentencepiece vocabulary (measured). A GBNF that cannot be read is an error.

The layout is that of `json.dumps`: properties in the order of the schema, `", "` and `": "` between. Objects are closed.
"""

from __future__ import annotations

import json
from typing import Any

from ...errors import UsageError

_BYTES, _DEPTH, _NODES, _REPEAT, _RANGE = 32_768, 16, 2000, 1000, 1000
_ANNOTATIONS = {"title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions"}
_OBJECT = {"properties", "required", "additionalProperties"}
_BY_TYPE = {"object": _OBJECT, "array": {"items", "minItems", "maxItems"}, "string": {"minLength", "maxLength"},
            "integer": {"minimum", "maximum"}, "number": set(), "boolean": set(), "null": set()}  # fmt: skip
_SUPPORTED = "type, properties, required, additionalProperties, items, minItems, maxItems, minLength, maxLength, enum, const, anyOf, $ref"

_BASE = r"""
char ::= [^"\\\x00-\x1f\x7f] | "\\" ["\\/bfnrt]
string ::= "\"" char* "\""
integer ::= "-"? ("0" | [1-9] [0-9]{0,14})
number ::= integer ("." [0-9]{1,15})? ([eE] [-+]? [1-9] [0-9]{0,1})?
boolean ::= "true" | "false"
null ::= "null"
object ::= "{" (string ": " value (", " string ": " value)*)? "}"
array ::= "[" (value (", " value)*)? "]"
value ::= object | array | string | number | boolean | null
"""


def literal(text: str) -> str:
    """A GBNF literal of a text."""
    return '"' + "".join(one if (one.isascii() and one.isalnum()) or one == " " else f"\\U{ord(one):08X}" for one in text) + '"'


def schema_grammar(schema: object) -> str:
    """The grammar of a schema. Raises UsageError for one that is too large or says what cannot be held to."""
    if not isinstance(schema, dict):
        raise UsageError(f"json_schema is {type(schema).__name__}, not a dict")
    try:
        size = len(json.dumps(schema, allow_nan=False).encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as problem:
        raise UsageError(f"json_schema is not JSON: {problem}") from None
    if size > _BYTES:
        raise UsageError(f"json_schema has {size} bytes", hint=f"at most {_BYTES}")
    writer = _Writer(schema)
    root = writer.rule(schema, 1)
    return "\n".join([f"root ::= {root}", *(f"{name} ::= {body}" for name, body in writer.rules.items())]) + _BASE


class _Writer:
    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema, self.nodes = schema, 0
        self.rules: dict[str, str] = {}
        self._definitions: dict[str, str] = {}

    def name(self, body: str) -> str:
        """A new rule with this body."""
        name = f"r{len(self.rules)}"
        self.rules[name] = body
        return name

    def rule(self, node: object, depth: int) -> str:
        """The name of a rule for one schema node."""
        self.nodes += 1
        if depth > _DEPTH or self.nodes > _NODES:
            raise UsageError("json_schema is too deep or too large", hint=f"at most {_DEPTH} levels and {_NODES} values")
        if not isinstance(node, dict | bool) or node is False:
            raise UsageError(f"json_schema holds {node!r} where a schema should stand")
        keys = set(node) - _ANNOTATIONS if isinstance(node, dict) else set()
        if not keys or isinstance(node, bool):
            return "value"
        if "$ref" in keys:
            self._only(keys, {"$ref"})
            return self._reference(node["$ref"], depth)
        if "const" in keys or "enum" in keys:
            self._only(keys, {"const", "enum", "type"})
            return self._values([node["const"]] if "const" in keys else node["enum"])
        if keys & {"anyOf", "oneOf"}:
            self._only(keys, {"anyOf"} if "anyOf" in keys else {"oneOf"})
            return self._any(node.get("anyOf", node.get("oneOf")), depth)
        return self._typed(node, keys, depth)

    def _typed(self, node: dict[str, Any], keys: set[str], depth: int) -> str:
        kinds: Any = node.get("type", "object" if keys & _OBJECT else None)
        listed: list[Any] = kinds if isinstance(kinds, list) else [kinds]
        if not listed or any(not isinstance(kind, str) or kind not in _BY_TYPE for kind in listed):
            raise UsageError(f"json_schema holds the type {kinds!r}", hint=f"one of {', '.join(_BY_TYPE)}")
        self._only(keys, {"type"}.union(*(_BY_TYPE[kind] for kind in listed)))
        rules = [self._one(kind, node, depth) for kind in listed]
        return rules[0] if len(rules) == 1 else self.name(" | ".join(rules))

    def _one(self, kind: str, node: dict[str, Any], depth: int) -> str:
        if kind == "object":
            return self._object(node, depth)
        if kind == "array":
            return self._array(node, depth)
        if kind == "string" and ("minLength" in node or "maxLength" in node):
            least, most = self._bounds(node, "minLength", "maxLength")
            return self.name(f'"\\"" char{{{least},{most}}} "\\""')
        if kind == "integer" and ("minimum" in node or "maximum" in node):
            return self._range(node.get("minimum"), node.get("maximum"))
        return kind

    def _object(self, node: dict[str, Any], depth: int) -> str:
        properties, required, others = node.get("properties", {}), node.get("required", []), node.get("additionalProperties", False)
        if not isinstance(properties, dict) or not isinstance(required, list) or not all(isinstance(one, str) and one in properties for one in required):
            raise UsageError(f"json_schema requires {required!r}, which are not all among its properties")
        if not properties:
            if "properties" in node or (others is False and "additionalProperties" in node):
                return self.name('"{}"')
            if others in (True, False):
                return "object"
            pair = self.name(f'string ": " {self.rule(others, depth + 1)}')
            return self.name(f'"{{" ({pair} (", " {pair})*)? "}}"')
        pairs = [(self.name(f"{literal(json.dumps(key, ensure_ascii=False))} \": \" {self.rule(inner, depth + 1)}"), key in required)
                 for key, inner in properties.items()]  # fmt: skip
        # From the last to the first: what may follow a property, once something stands before it and while nothing does.
        after = first = '""'
        for pair, needed in reversed(pairs):
            started = self.name(f'", " {pair} {after}' if needed else f'", " {pair} {after} | {after}')
            first = self.name(f"{pair} {after}" if needed else f"{pair} {after} | {first}")
            after = started
        return self.name(f'"{{" {first} "}}"')

    def _array(self, node: dict[str, Any], depth: int) -> str:
        item = self.rule(node.get("items", True), depth + 1)
        if "minItems" not in node and "maxItems" not in node:
            return self.name(f'"[" ({item} (", " {item})*)? "]"')
        least, most = self._bounds(node, "minItems", "maxItems")
        if most == 0:
            return self.name('"[]"')
        body = f'{item} (", " {item}){{{max(0, least - 1)},{most - 1}}}'
        return self.name(f'"[" {body} "]"' if least else f'"[" ({body})? "]"')

    def _bounds(self, node: dict[str, Any], low: str, high: str) -> tuple[int, int]:
        least, most = node.get(low, 0), node.get(high, _REPEAT)
        for key, value in ((low, least), (high, most)):
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _REPEAT:
                raise UsageError(f"json_schema holds {key}={value!r}", hint=f"a whole number from 0 to {_REPEAT}")
        if least > most:
            raise UsageError(f"json_schema holds {low}={least} and {high}={most}, which nothing fits")
        return least, most

    def _range(self, least: object, most: object) -> str:
        whole = [one for one in (least, most) if isinstance(one, int) and not isinstance(one, bool)]
        if least in (0, 1) and most is None:
            return self.name('"0" | [1-9] [0-9]{0,14}' if least == 0 else "[1-9] [0-9]{0,14}")
        if len(whole) != 2 or not 0 <= whole[1] - whole[0] < _RANGE:
            raise UsageError(f"json_schema holds integers from {least!r} to {most!r}",
                             hint=f"give both bounds, fewer than {_RANGE} apart, or minimum 0 or 1 alone")
        return self._values(list(range(whole[0], whole[1] + 1)))

    def _values(self, values: object) -> str:
        if not isinstance(values, list) or not values:
            raise UsageError("json_schema holds an enum without values")
        return self.name(" | ".join(literal(json.dumps(value, ensure_ascii=False)) for value in values))

    def _any(self, nodes: object, depth: int) -> str:
        if not isinstance(nodes, list) or not nodes:
            raise UsageError("json_schema holds an anyOf without schemas")
        return self.name(" | ".join(self.rule(one, depth + 1) for one in nodes))

    def _reference(self, target: object, depth: int) -> str:
        parts = target.split("/") if isinstance(target, str) else []
        if target != "#" and (len(parts) != 3 or parts[0] != "#" or parts[1] not in ("$defs", "definitions")):
            raise UsageError(f"json_schema refers to {target!r}", hint="only '#' and '#/$defs/<name>' are followed")
        key = str(target)
        if key in self._definitions:
            return self._definitions[key]
        found: Any = self.schema if target == "#" else (self.schema.get(parts[1]) or {}).get(parts[2])
        if found is None:
            raise UsageError(f"json_schema refers to {target!r}, which it does not hold")
        self._definitions[key] = self.name("")
        name = self._definitions[key]
        self.rules[name] = self.rule(found, depth + 1)
        return name

    def _only(self, keys: set[str], allowed: set[str]) -> None:
        for key in sorted(keys - allowed):
            raise UsageError(f"json_schema holds {key!r}, which cannot be held to here", hint=f"use {_SUPPORTED}")
