"""Pages for requests that no view answers. They need no sign-in, and the worst of them no database."""

import sys
from collections.abc import Callable
from http import HTTPStatus

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from psycopg.errors import ReadOnlySqlTransaction

from portal.api import failed
from portal.bodies import FOR_PROGRAMS
from portal.context import theme_of

RETRY_AFTER_SECONDS = 10
TOO_MANY_RETRY_AFTER_SECONDS = 300  # the longest time of ACCOUNT_RATE_LIMITS, whichever of them it was
DATABASE_IS_AWAY = (OperationalError, InterfaceError)

Handler = Callable[[HttpRequest], HttpResponse]


def bare_refusals(get_response: Handler) -> Handler:
    """Put a page into the empty answer that a view gives to a method it does not know."""

    def handle(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED or request.path.startswith(FOR_PROGRAMS):
            return response
        page = render(request, "405.html", status=HTTPStatus.METHOD_NOT_ALLOWED)
        page["Allow"] = response["Allow"]
        return page

    return handle


def server_error(request: HttpRequest) -> HttpResponse:
    """Say that the portal failed, or that its database is away (503), without asking the database."""
    away = _is_away(sys.exc_info()[1])
    status = HTTPStatus.SERVICE_UNAVAILABLE if away else HTTPStatus.INTERNAL_SERVER_ERROR
    response = failed(status) if request.path.startswith(FOR_PROGRAMS) else _failure_page(request, status)
    response["Cache-Control"] = "no-store"
    if away:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def too_many_attempts(request: HttpRequest) -> HttpResponse:
    """Slow down whoever tries to sign in, or to confirm who he is, too often."""
    minutes = TOO_MANY_RETRY_AFTER_SECONDS // 60
    response = render(request, "429.html", {"minutes": minutes}, status=HTTPStatus.TOO_MANY_REQUESTS)
    response["Retry-After"] = str(TOO_MANY_RETRY_AFTER_SECONDS)
    response["Cache-Control"] = "no-store"
    return response


def _is_away(error: BaseException | None) -> bool:
    """Whether the database cannot be reached, has no room, or only reads."""
    only_reads = isinstance(error, DatabaseError) and isinstance(error.__cause__, ReadOnlySqlTransaction)
    return only_reads or isinstance(error, DATABASE_IS_AWAY)


def _failure_page(request: HttpRequest, status: HTTPStatus) -> HttpResponse:
    known = structlog.contextvars.get_contextvars()
    context = {"theme": theme_of(request), "request_id": known.get("request_id", "")}
    page = render_to_string(f"{status.value}.html", context)
    return HttpResponse(page, status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Refuse a form that did not come from a page of this session."""
    return render(request, "403.html", status=HTTPStatus.FORBIDDEN)
