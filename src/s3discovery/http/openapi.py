"""The interface as an OpenAPI document; a fuzzer holds it to the truth in the tests."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from s3discovery.observation.troubles import SEVERITIES

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_FLAG = {"type": "boolean"}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_WHOLE = {"type": "integer"}
_TEXTS = {"type": "array", "items": _TEXT}


def _or_none(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object that has these, and may have more: new fields may come."""
    return {"type": "object", "properties": dict(properties), "required": sorted(properties)}


def _named(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_MEMBER: dict[str, Any] = {
    "cluster_id": _TEXT,
    "host": _TEXT,
    "port": _PORT,
    "file_version": _TEXT,
    "age_s": _or_none(_NUMBER),
    "expires_in_s": _or_none(_NUMBER),
    "late": _FLAG,
    "own": _FLAG,
    "state": {"type": ["string", "null"], "enum": ["formed", "waiting", None]},
    "misses": _TEXTS,
    "kind": _or_none(_TEXT),
}
_TROUBLE: dict[str, Any] = {
    "kind": _TEXT,
    "severity": {"type": "string", "enum": list(SEVERITIES)},
    "title": _TEXT,
}
_SCHEMAS = {
    "Member": _object(**_MEMBER),
    "Members": _object(
        version=_WHOLE,
        listed_s_ago=_or_none(_NUMBER),
        members={"type": "array", "items": _named("Member")},
    ),
    "Status": _object(
        version=_WHOLE,
        bucket=_TEXT,
        prefix=_TEXT,
        own=_or_none(_TEXT),
        registered=_FLAG,
        cluster=_object(
            state=_TEXT,
            whole=_or_none(_FLAG),
            split=_FLAG,
            groups={"type": "array", "items": _TEXTS},
            waiting=_TEXTS,
            strangers=_TEXTS,
            gaps={"type": "array", "items": _TEXTS},
            gaps_count=_WHOLE,
            broker=_or_none(_TEXT),
        ),
        store=_object(
            answers=_FLAG,
            error=_or_none(_TEXT),
            write_error=_or_none(_TEXT),
            read_error=_or_none(_TEXT),
            listed_s_ago=_or_none(_NUMBER),
            clock_skew_s=_or_none(_NUMBER),
            credentials_until_s=_or_none(_NUMBER),
            capabilities=_object(
                conditional_create=_or_none(_FLAG),
                conditional_write=_or_none(_FLAG),
                conditional_delete=_or_none(_FLAG),
                metadata=_or_none(_FLAG),
            ),
        ),
        rival=_or_none(_TEXT),
        poll_interval_s=_NUMBER,
        update_interval_s=_NUMBER,
        file_expiration_s=_NUMBER,
        problems={"type": "array", "items": _object(key=_TEXT, reason=_TEXT)},
        troubles={"type": "array", "items": _object(**_TROUBLE, effect=_TEXT, cure=_TEXT)},
    ),
    "Error": _object(error=_TEXT),
    "Targets": {
        "type": "array",
        "items": _object(targets=_TEXTS, labels={"type": "object", "additionalProperties": _TEXT}),
    },
}
# What each event has beside `at`; the text of the stream has them in its `data:` lines.
_EVENTS: Mapping[str, Mapping[str, Any]] = {
    "joined": _MEMBER,
    "left": _MEMBER,
    "moved": _MEMBER,
    "store": {"answers": _FLAG, "error": _or_none(_TEXT)},
    "cluster": {"state": _TEXT, "broker": _or_none(_TEXT)},
    "skipped": {"key": _TEXT, "reason": _TEXT},
    "readable": {"key": _TEXT},
    "rival": {"address": _TEXT},
    "registered": {"registered": _FLAG},
    "trouble": _TROUBLE,
    "cured": _TROUBLE,
}
_SNAPSHOT = _object(
    version=_WHOLE,
    status=_named("Status"),
    members=_named("Members"),
    events={"type": "array", "items": _object(id=_TEXT, event=_TEXT, data={"type": "object"})},
)
EVENTS: Mapping[str, Mapping[str, Any]] = {
    "snapshot": _SNAPSHOT,
    **{kind: _object(at=_NUMBER, **data) for kind, data in _EVENTS.items()},
}


def _json(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": dict(schema)}}}


_ERRORS = {
    "401": _json("A token is needed.", _named("Error")),
    "403": _json(
        "No token is set, and the request is of another site's page, or for a host name that is not ours.",
        _named("Error"),
    ),
}


def _asked(summary: str, answers: Mapping[str, Any], **more: object) -> dict[str, Any]:
    return {"summary": summary, "responses": {**answers, **_ERRORS}, **more}


def document(*, with_metrics: bool) -> dict[str, Any]:
    """Return the document (OpenAPI 3.1)."""
    paths: dict[str, Any] = {
        "/healthz": {"get": {"summary": "Whether the process lives", "security": [], "responses": {
            "200": _json("It does.", _object(alive=_FLAG))}}},
        "/readyz": {"get": {"summary": "Whether it does its work", "security": [], "responses": {
            "200": _json("It does.", _object(ready=_FLAG, reason=_TEXT)),
            "503": _json("It does not. Why is told to who may ask for `/v1/status`.",
                         _object(ready=_FLAG, reason=_TEXT))}}},
        "/v1/members": {"get": _asked("The members", {"200": _json("All of them.", _named("Members"))})},
        "/v1/status": {"get": _asked("How all of it is", {"200": _json("So.", _named("Status"))})},
        "/v1/events": {"get": _asked(
            "What happens, as server-sent events: a `snapshot`, then one for each change",
            {"200": {"description": "A stream.", "content": {"text/event-stream": {"schema": _TEXT}}},
             "503": _json("64 streams are open, none for five minutes; later.", _named("Error"))},
            parameters=[{"name": "Last-Event-ID", "in": "header", "required": False, "schema": _TEXT},
                        {"name": "last_event_id", "in": "query", "required": False, "schema": _TEXT}],
            **{"x-events": EVENTS})},
        "/v1/leave": {"post": _asked(
            "Take the node out of its broker's cluster, and end it",
            {"202": _json("It has left.", _object(left=_FLAG)),
             "409": _json("The broker refuses, or there is no node.", _named("Error"))})},
        "/prometheus-sd": {"get": _asked(
            "The members as targets of Prometheus' http_sd",
            {"200": _json("Targets.", _named("Targets")), "400": _json("No such port.", _named("Error")),
             "503": _json("No complete listing yet; keep the targets that you have.", _named("Error"))},
            parameters=[{"name": "port", "in": "query", "required": False, "schema": _PORT}])},
        "/openapi.json": {"get": _asked(
            "This document", {"200": _json("It.", {"type": "object"})})},
    }  # fmt: skip
    if with_metrics:
        text = {"description": "Metrics.", "content": {"text/plain": {"schema": _TEXT}}}
        paths["/metrics"] = {"get": _asked("Metrics for Prometheus", {"200": text})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "s3discovery", "version": version("s3discovery")},
        "paths": paths,
        "security": [{}, {"token": []}],
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
