"""What every part of the management API shares: cursor pages and problem documents."""

from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response
from rest_framework.views import set_rollback

from core.errors import DomainError
from core.problems import CONTENT_TYPE, from_error, problem


class CursorPages(CursorPagination):
    """Pages by an opaque cursor, newest first: stable while rows are added."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200


def problem_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer any refusal with a problem document (RFC 9457); None lets a bug be a 500."""
    if isinstance(error, DomainError):
        set_rollback()
        return _response(from_error(error), int(error.status))
    translated = _translate(error)
    if translated is None:
        return None
    set_rollback()
    headers = _headers(translated)
    return _response(_document(translated), translated.status_code, headers)


def _translate(error: Exception) -> exceptions.APIException | None:
    match error:
        case exceptions.APIException():
            return error
        case Http404():
            return exceptions.NotFound()
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case _:
            return None


def _document(error: exceptions.APIException) -> dict[str, Any]:
    title = HTTPStatus(error.status_code).phrase
    if isinstance(error, exceptions.ValidationError):
        return problem(
            status=error.status_code,
            code="invalid_input",
            title=title,
            detail="Some fields cannot be used; see errors.",
            errors=error.get_full_details(),
        )
    return problem(
        status=error.status_code, code=str(error.get_codes()), title=title, detail=str(error.detail)
    )


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    challenge = getattr(error, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    wait = getattr(error, "wait", None)
    if wait:
        headers["Retry-After"] = str(int(wait))
    return headers


def _response(document: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(document, status=status, headers=headers, content_type=CONTENT_TYPE)
