"""The OpenAPI document of what is declared, and a page that shows it without a script."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgebird import __version__
from edgebird.web.api.declared import DECLARED, PARAMETERS, SCHEMAS, Operation
from edgebird.web.rendering import page

_REFUSALS = {
    "400": "a parameter is not what is wanted",
    "401": "a password is needed",
    "403": "refused",
    "404": "there is none",
    "429": "too many requests",
    "503": "the database cannot be read",
}


def document() -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, Any] = {}
    for one in DECLARED:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgebird",
            "version": __version__,
            "description": "What BirdNET-Go's client aiobirdnetgo asks for. Times are ISO 8601 with their offset.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "password": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{}, {"password": []}, {"token": []}],
    }


def _operation(one: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "description": PARAMETERS[name][0], "schema": PARAMETERS[name][1]}
        for name in one.takes
    ]
    if one.has_id:
        number = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": number})
    if "{name}" in one.path:
        parameters.append(
            {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        )
    answers: dict[str, Any] = {code: _answer(text) for code, text in _REFUSALS.items()}
    if one.status == 200:
        kind, schema = ("application/json", one.gives) if isinstance(one.gives, dict) else (one.gives, None)
        answers["200"] = {"description": one.summary, "content": {kind: {"schema": schema} if schema else {}}}
    return {"operationId": one.name, "summary": one.summary, "parameters": parameters, "responses": answers}


def _answer(text: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": text, "content": content}


def openapi(request: Request) -> Response:
    """Give the document."""
    return JSONResponse(document())


def docs(request: Request) -> Response:
    """Show it."""
    return page(request, "api.html", {"operations": DECLARED, "parameters": PARAMETERS})
