"""The edge of the management API: its document, and every refusal as a problem document (RFC 9457)."""

from functools import cache
from http import HTTPStatus
from math import ceil
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.generators import SchemaGenerator
from rest_framework import exceptions
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from core.errors import DomainError
from core.problems import CONTENT_TYPE, from_error, problem
from core.rest.fields import flat_errors

INVALID = "invalid_request"
# Where the framework's own sentence does not say what to do.
SENTENCES = {
    "not_authenticated": "Sign in at /accounts/login/ and send the session's cookie.",
    "not_found": "There is nothing at this address. Addresses of the API end with a slash; see /api/schema/.",
    "throttled": "Too many calls from this address; this one did nothing. Wait as long as Retry-After says.",
    "unavailable": "The database cannot be reached, so nothing was done. Try again in a moment.",
    "internal_error": "Purser failed. Try again; if it stays, tell an administrator the X-Request-Id.",
}


class OpenApiDocument(APIView):
    """The description of the API; it is the same for everybody, so nobody needs to sign in for it."""

    authentication_classes = []
    permission_classes = [AllowAny]
    http_method_names = ["get", "head"]
    schema = None

    def get(self, request: Request) -> Response:
        """Return the document."""
        return Response(openapi_document())


@cache
def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document, made once in the life of a process."""
    generator: Any = SchemaGenerator  # carries no types
    document: dict[str, Any] = generator().get_schema(request=None, public=True)
    return document


@csrf_exempt
@login_not_required
def unknown_address(request: HttpRequest) -> JsonResponse:
    """Refuse an address that the API does not have, whoever asks and however."""
    return _bare(HTTPStatus.NOT_FOUND, "not_found")


def failed(status: HTTPStatus) -> JsonResponse:
    """Say that the portal failed (500), or that its database is away (503), without asking the database."""
    return _bare(status, "unavailable" if status is HTTPStatus.SERVICE_UNAVAILABLE else "internal_error")


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


def _bare(status: HTTPStatus, code: str) -> JsonResponse:
    document = problem(status=status, code=code, title=status.phrase, detail=SENTENCES[code])
    return JsonResponse(document, status=status, content_type=CONTENT_TYPE)


def _translate(error: Exception) -> exceptions.APIException | None:
    match error:
        case exceptions.APIException():
            return error
        case Http404():
            return exceptions.NotFound()
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case SuspiciousOperation():
            return exceptions.ParseError(
                "This request is beyond reason, such as a thousand parameters.", INVALID
            )
        case _:
            return None


def _document(error: exceptions.APIException) -> dict[str, Any]:
    title = HTTPStatus(error.status_code).phrase
    if isinstance(error, exceptions.ValidationError):
        return problem(
            status=error.status_code,
            code=INVALID,
            title=title,
            detail="Some fields cannot be used; see errors.",
            errors=flat_errors(error.detail),
        )
    code = str(error.get_codes())
    detail = SENTENCES.get(code, str(error.detail))
    return problem(status=error.status_code, code=code, title=title, detail=detail)


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    challenge = getattr(error, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    wait = getattr(error, "wait", None)
    if wait:
        headers["Retry-After"] = str(ceil(wait))
    return headers


def _response(document: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(document, status=status, headers=headers, content_type=CONTENT_TYPE)
