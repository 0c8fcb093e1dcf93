"""Problem documents (RFC 9457) for the management API, the decision API and error pages."""

from typing import Any

from core.errors import DomainError

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:purser:problem:"


def problem(*, status: int, code: str, title: str, detail: str, **extra: Any) -> dict[str, Any]:
    """Return the members of a problem document; `extra` members follow the standard ones."""
    return {
        "type": TYPE_PREFIX + code,
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        **extra,
    }


def from_error(error: DomainError) -> dict[str, Any]:
    """Turn a refusal of the domain into a problem document."""
    extra = dict(error.extra)
    if error.field:
        extra["errors"] = {error.field: [error.detail]}
    return problem(status=int(error.status), code=error.code, title=error.title, detail=error.detail, **extra)
