"""The server's OpenAPI document, made from the predictor's signature, and the check of bodies by it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from deployer.server import openai
from deployer.server.errors import BadInput, Words
from deployer.server.fields import Body
from deployer.server.http import Response, json_response
from deployer.server.predictor import Predictor
from deployer.server.signature import TensorSpec

JSON, FORM, BYTES = "application/json", "multipart/form-data", "application/octet-stream"


def check_fields(body: Body, schema: dict[str, Any]) -> None:
    """Refuse fields that the schema does not know and the absence of those that it requires."""
    known = schema.get("properties", {})
    names = ", ".join(map(_expected, known, known.values()))
    for name in body:
        if name not in known:
            raise BadInput(name[:80], Words("is not a field of this model", "不是该模型的字段"), names)
    for name in schema.get("required", []):
        if name not in body:
            raise BadInput(name, Words("is missing", "缺失"), names)


def _expected(name: str, field: dict[str, Any]) -> str:
    """A field's name, and the tensors that it stands for where it does."""
    return f"{name} ({field['x-tensors']})" if "x-tensors" in field else name


def document(name: str, predictor: Predictor) -> Response:
    """GET /openapi.json."""
    model = f"/v2/models/{name}"
    infer = _operation("Run the model on tensors", _infer_schema(predictor.inputs), gives=(JSON, BYTES))
    paths: dict[str, Any] = {
        "/predict": {"post": _predict(predictor.schema)},
        model: {"get": _operation("The model's signature")},
        model + "/ready": {"get": _operation("Whether the model takes requests")},
        model + "/infer": {"post": infer},
        "/v2": {"get": _operation("The server and its extensions")},
        "/v2/health/live": {"get": _operation("Whether the server lives")},
        "/v2/health/ready": {"get": _operation("Whether the server takes requests")},
        "/v1/models": {"get": _operation("The models served")},
        "/healthz": {"get": _operation("Whether the server takes requests")},
        "/metrics": {"get": _operation("Counts for Prometheus", gives=("text/plain",))},
    }
    offered = openai.offered(predictor)
    bodies, schemas = msgspec.json.schema_components(
        [route.body for route in offered.values()], ref_template="#/components/schemas/{name}"
    )
    for (path, route), body in zip(offered.items(), bodies, strict=True):
        operation = _operation(route.summary, body, takes=(route.takes,), gives=route.gives, refuses=_ERROR)
        paths[path] = {"post": operation}
    return json_response(
        {
            "openapi": "3.1.0",
            "info": {"title": name, "version": "1", "summary": predictor.task},
            "paths": paths,
            "components": {
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
                "schemas": {"Problem": _PROBLEM, **schemas},
            },
            "security": [{"key": []}],
        }
    )


def _predict(schema: dict[str, Any]) -> dict[str, Any]:
    """JSON or a form; and the main field's bytes by themselves, if it takes bytes."""
    operation = _operation("Answer an input", schema, takes=(JSON, FORM))
    main = schema.get("properties", {}).get(schema.get("x-field"), {})
    for kind in main.get("x-accepts", ()):
        operation["requestBody"]["content"][kind] = {"schema": {"type": "string", "format": "binary"}}
    return operation


def _operation(
    summary: str,
    schema: dict[str, Any] | None = None,
    *,
    takes: Sequence[str] = (JSON,),
    gives: Sequence[str] = (JSON,),
    refuses: dict[str, Any] | None = None,
) -> dict[str, Any]:
    refusal = refuses or {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "The answer", "content": {kind: {} for kind in gives}},
            "default": {"description": "A refusal", "content": refusal},
        },
    }
    if schema is not None:
        content = {kind: {"schema": schema} for kind in takes}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _infer_schema(inputs: list[TensorSpec]) -> dict[str, Any]:
    tensors = [
        {
            "type": "object",
            "required": ["name", "datatype", "shape", "data"],
            "properties": {
                "name": {"const": spec.name},
                "datatype": {"const": spec.datatype},
                "shape": {
                    "type": "array",
                    "prefixItems": [
                        {"type": "integer"} if axis < 0 else {"const": axis} for axis in spec.shape
                    ],
                    "minItems": len(spec.shape),
                    "maxItems": len(spec.shape),
                },
                "data": {"type": "array"},
            },
        }
        for spec in inputs
    ]
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {"id": {"type": "string"}, "inputs": {"type": "array", "items": {"anyOf": tensors}}},
    }


_ERROR: dict[str, Any] = {
    JSON: {
        "schema": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {"message": {"type": "string"}, "type": {"type": "string"}},
                }
            },
        }
    }
}

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "next"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "next": {"type": "string"},
        "facts": {"type": "object"},
    },
}
