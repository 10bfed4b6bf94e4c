"""The API's object as a JSON Schema."""

from __future__ import annotations

from typing import Any

from crdiff.method import attention_scale
from crdiff.method.attention_scale import OFF
from crdiff.method.groups import GROUPS
from crdiff.method.schedule import MAX_K, MAX_STAGES, MIN_K, TEXT_PATTERN
from crdiff.settings import Settings
from crdiff.specs import SCHEDULES, SPECS


def json_schema() -> dict[str, Any]:
    """For validating what a client sends, and for making forms."""
    defaults = Settings().to_dict()
    properties: dict[str, dict[str, Any]] = {}
    for name, spec in SPECS.items():
        entry: dict[str, Any] = {"title": spec.label, "description": spec.help, "default": defaults[name]}
        if name in GROUPS:
            entry |= {"type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0}
        elif name == "k":
            entry |= {"type": ["number", "null"], "minimum": spec.low, "maximum": spec.high}
        elif spec.choices:
            entry |= {"type": "string", "enum": list(spec.choices)}
        elif isinstance(defaults[name], bool):
            entry |= {"type": "boolean"}
        elif name == "attention_scale":
            words = rf"^({OFF}|{attention_scale.AUTO}( {attention_scale.SIZE_PATTERN})?|[0-9.]+)$"
            factor = {"type": "number", "minimum": spec.low, "maximum": spec.high}
            entry |= {"anyOf": [{"type": "string", "pattern": words}, factor]}
        elif name in SCHEDULES:
            entry |= {"anyOf": [{"const": ""}, {"type": "string", "pattern": TEXT_PATTERN}, _stages_schema()]}
        elif isinstance(defaults[name], str):
            entry |= {"type": "string", "minLength": 1}
        else:
            entry |= {"type": "number", "minimum": spec.low, "maximum": spec.high}
        properties[name] = entry
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "CR-Diff",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _stages_schema() -> dict[str, Any]:
    below_one = {"type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0}
    k = {"type": ["number", "null"], "minimum": MIN_K, "maximum": MAX_K}
    stage = {
        "type": "object",
        "properties": {**dict.fromkeys(("from", *GROUPS), below_one), "k": k},
        "required": ["from", *GROUPS],
        "additionalProperties": False,
    }
    return {"type": "array", "minItems": 1, "maxItems": MAX_STAGES, "items": stage}
