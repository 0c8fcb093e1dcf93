"""Usage that comes as OpenTelemetry traces: OTLP/JSON, each span of a call to a model one row. Pure.

Format: `ExportTraceServiceRequest` of opentelemetry-proto 1 in its JSON encoding, in which 64-bit numbers may
be texts and ids are hexadecimal. Names: the GenAI semantic conventions; input tokens include cached ones.
Prompts and answers, which spans may carry, are not read.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.adapters.parts import context_of
from gateway.adapters.pushed import PushedRow, UnreadableBodyError, translated
from usage.models import QuarantineReason

SPANS = "resourceSpans"
KEY_ID = "purser.key_id"
# The conventions' name of each count, ours first; the last ones are older spellings.
COUNTS: Mapping[str, tuple[str, ...]] = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "cached_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cached_tokens"),
    "cache_write_tokens": ("gen_ai.usage.cache_creation.input_tokens",),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
}
# The service class of the answer, else the one that was asked for; the last ones are older spellings.
TIERS = (
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
)
# A span of an agent or a tool repeats the tokens of the calls below it, so only these are calls.
CALLS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
CUT_OFF = frozenset({"length", "max_tokens", "MAX_TOKENS"})
ERROR_CODES = frozenset({2, "2", "STATUS_CODE_ERROR"})
NANOSECONDS = re.compile(r"[0-9]{1,19}")
WHOLE = re.compile(r"-?[0-9]{1,18}")
TRACE_ID, SPAN_ID = re.compile(r"[0-9a-fA-F]{32}"), re.compile(r"[0-9a-fA-F]{16}")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_trace(document: Any) -> bool:
    """Whether a JSON document is an export of traces."""
    return isinstance(document, dict) and SPANS in document


def read_spans(document: Any) -> Iterator[PushedRow | None]:
    """Give each span as a row, counted from 1; None for one that is no call to a model.

    Raises UnreadableBodyError.
    """
    place = 0
    for resource_spans in _list(document, SPANS):
        resource = resource_spans.get("resource")
        shared = _attributes(resource if isinstance(resource, dict) else {})
        for scope_spans in _list(resource_spans, "scopeSpans"):
            for span in _list(scope_spans, "spans"):
                place += 1
                attributes = {**shared, **_attributes(span)}
                yield _row(place, span, attributes) if _is_call(attributes) else None


def _is_call(attributes: Mapping[str, Any]) -> bool:
    operation = attributes.get("gen_ai.operation.name")
    if operation is not None:
        return operation in CALLS
    return any(name in attributes for names in COUNTS.values() for name in names)


def _row(place: int, span: Mapping[str, Any], attributes: Mapping[str, Any]) -> PushedRow:
    trace_id, span_id = str(span.get("traceId")), str(span.get("spanId"))
    served = attributes.get("gen_ai.response.model")
    row = translated(
        {
            "id": f"{trace_id}-{span_id}".lower(),
            "at": _moment(span.get("startTimeUnixNano")),
            "key_id": attributes.get(KEY_ID),
            "model": attributes.get("gen_ai.request.model") or served,
            "served_model": served,
            "usage": {ours: _count(attributes[name]) for ours, name in _counted(attributes)},
            "context": context_of(next((attributes[name] for name in TIERS if name in attributes), None))
            or None,
            "finish": _finish(span, attributes),
            "provider_id": attributes.get("gen_ai.response.id"),
            "estimated": attributes.get("purser.estimated") is True,
            "cache_hit": attributes.get("purser.cache_hit") is True,
        }
    )
    if TRACE_ID.fullmatch(trace_id) and SPAN_ID.fullmatch(span_id):
        return PushedRow(line=place, row=row)
    detail = "traceId must be 32 and spanId 16 hexadecimal digits."
    return PushedRow(line=place, row=row, reason=QuarantineReason.MALFORMED, detail=detail)


def _counted(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for ours, names in COUNTS.items():
        name = next((name for name in names if name in attributes), None)
        if name:
            yield ours, name


def _finish(span: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
    status = span.get("status")
    if "error.type" in attributes or (isinstance(status, dict) and status.get("code") in ERROR_CODES):
        return "error"
    reasons = attributes.get("gen_ai.response.finish_reasons")
    return "length" if isinstance(reasons, list) and CUT_OFF & set(map(str, reasons)) else "stop"


def _moment(value: Any) -> str | None:
    """Write a count of nanoseconds since 1970 as a moment, to the microsecond."""
    text = str(value)
    if not NANOSECONDS.fullmatch(text):
        return None
    return (EPOCH + timedelta(microseconds=int(text) // 1_000)).isoformat()


def _count(value: Any) -> Any:
    """Return a whole number, which may come as a text or as a double; another value stays as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and WHOLE.fullmatch(value) else value


def _attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes by their names; of two with one name the last one counts."""
    found = {}
    for pair in _list(holder, "attributes"):
        value = pair.get("value")
        if isinstance(pair.get("key"), str) and isinstance(value, dict):
            found[pair["key"]] = _value(value)
    return found


def _value(value: Mapping[str, Any]) -> Any:
    """Return an `AnyValue`: the one of its members that is there."""
    array = value.get("arrayValue")
    if isinstance(array, dict):
        return [_value(each) for each in _list(array, "values")]
    if "intValue" in value:
        return _count(value["intValue"])
    return next((value[name] for name in ("stringValue", "doubleValue", "boolValue") if name in value), None)


def _list(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects; one that is missing is empty. Raises UnreadableBodyError."""
    values = holder.get(name) or []
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise UnreadableBodyError(f"{name} must be a list of objects.")
    return values
