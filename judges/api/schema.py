"""The shape of a judgement on the wire: one JSON object. The service is asked to keep to it; parsing.py trusts nobody."""

from typing import Any

from client_graph.names import DIMENSIONS

SCHEMA_VERSION = 1  # part of every cache key: count it up when the shape or the meaning of a field changes
TEXTS = ("critical_moments", "recommendations")


def judgement_schema() -> dict[str, Any]:
    """JSON Schema within what structured output allows: every field required, nothing else, no bounds on numbers.

    The reason stands before the score, so that a model which writes in order has given it before it decides.
    """
    dimension = _object({"reason": {"type": "string"}, "score": {"type": "number"}})
    texts = {"type": "array", "items": {"type": "string"}}
    fields = {
        "dimensions": _object({name: {"$ref": "#/$defs/dimension"} for name in DIMENSIONS}),
        "narrative": {"type": "string"},
        **dict.fromkeys(TEXTS, texts),
    }
    return {"$defs": {"dimension": dimension}, **_object(fields)}


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
