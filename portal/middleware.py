"""The edge of every page: who asks, what may be stored, and how a refusal of the domain looks."""

import hashlib
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.template.response import SimpleTemplateResponse

from core import audit, idempotency
from core.clients import client_address
from core.errors import DomainError
from core.problems import from_error
from core.templatetags.ui import ONCE
from portal.answers import lead_to, problem_document
from teams.services.sessions import LastSeen

log = structlog.get_logger(__name__)

Handler = Callable[[HttpRequest], HttpResponse]

# What each copy of a form has of its own, and nobody enters.
UNENTERED = frozenset({"csrfmiddlewaretoken", ONCE})

# The views of allauth that change how somebody signs in.
SIGN_IN_CHANGES = frozenset(
    {
        "account_change_password",
        "account_set_password",
        "account_reset_password_from_key",
        "mfa_activate_totp",
        "mfa_deactivate_totp",
        "mfa_add_webauthn",
        "mfa_remove_webauthn",
        "mfa_generate_recovery_codes",
    }
)


def request_context(get_response: Handler) -> Handler:
    """Give each request an id that logs and audit rows share."""

    def handle(request: HttpRequest) -> HttpResponse:
        request_id = secrets.token_hex(8)
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            audit.origin(request_id=request_id, ip_address=client_address(request)),
        ):
            response = get_response(request)
        response["X-Request-Id"] = request_id
        return response

    return handle


def private_pages(get_response: Handler) -> Handler:
    """Keep what a signed-in person sees out of every cache."""

    def handle(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.user.is_authenticated and not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        return response

    return handle


def last_seen(get_response: Handler) -> Handler:
    """Keep when a browser that is signed in was last used. A database that cannot write stops no page."""
    sessions = LastSeen()

    def handle(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        key = request.session.session_key
        if key and request.user.is_authenticated:
            try:
                sessions.saw(key)
            except DatabaseError as error:
                log.warning("session.not_marked_as_seen", error=type(error).__name__)
        return response

    return handle


class sign_in_required(LoginRequiredMiddleware):  # noqa: N801  named like its function neighbours
    """Ask everybody to sign in, except where a view says `login_not_required`."""

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[Any, ...],
        view_kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        """Send the browser to the sign-in page."""
        response = super().process_view(request, view_func, view_args, view_kwargs)
        return None if response is None else lead_to(request, response["Location"])


def repeated_forms(get_response: Handler) -> Handler:
    """Let a form have one effect that carries a name of its own (`{% once %}`), or that a program sends with
    an `Idempotency-Key`: a second click does nothing. The API sees to its own calls.

    Somebody who goes back and enters something else means another act, which is judged anew. Only the way to
    the next page is kept, no page: one may show a secret. A page that answers by itself names the way in its
    `Content-Location`.
    """

    def handle(request: HttpRequest) -> HttpResponse:
        if request.method != "POST" or not _is_a_persons_form(request):
            return get_response(request)
        asked = idempotency.fingerprint(request.get_full_path(), _entered(request))
        key = request.headers.get(idempotency.HEADER) or _name_of(request, asked)
        if not key:
            return get_response(request)
        try:
            return idempotency.once(
                caller=f"user:{request.user.pk}",
                key=key,
                asked=asked,
                act=lambda: get_response(request),
                keep=_way_on,
                repeat=lambda kept: HttpResponse(status=kept.status, headers={"Location": kept.location}),
                refused=lambda response: response.status_code >= HTTPStatus.BAD_REQUEST,
            )
        except DomainError as error:
            return _page_of(request, error)

    return handle


def _is_a_persons_form(request: HttpRequest) -> bool:
    return request.user.is_authenticated and not request.path.startswith("/api/")


def _entered(request: HttpRequest) -> list[tuple[str, list[str]]]:
    files = [(name, [_digest(each) for each in found]) for name, found in request.FILES.lists()]
    entered = [(name, values) for name, values in request.POST.lists() if name not in UNENTERED]
    return [*entered, *files]


def _digest(file: "UploadedFile[Any]") -> str:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()


def _name_of(request: HttpRequest, asked: bytes) -> str:
    """Return the name of one sending of a form, with what was entered; empty for a form that has none."""
    name = request.POST.get(ONCE, "")
    return f"{name[:100]}:{asked.hex()}" if name else ""


def _way_on(response: HttpResponse) -> idempotency.Kept | None:
    """Return where a repeated form leads: where the first one did, or to the page that answered it."""
    if response.has_header("Location"):
        return idempotency.Kept(status=response.status_code, location=response["Location"])
    if response.has_header("Content-Location"):
        return idempotency.Kept(status=HTTPStatus.SEE_OTHER, location=response["Content-Location"])
    return None


class domain_errors:  # noqa: N801  named like its function neighbours; a class because Django asks for process_exception
    """Turn a DomainError that a page did not handle into its status and a page that says what to do."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer with a page, or with a problem document where JSON was asked for."""
        if not isinstance(exception, DomainError):
            return None
        if request.path.startswith("/api/"):
            return problem_document(exception)
        return _page_of(request, exception)


def _page_of(request: HttpRequest, error: DomainError) -> HttpResponse:
    return render(request, "error.html", {"problem": from_error(error)}, status=int(error.status))


class whole_sign_in_changes:  # noqa: N801  named like its neighbours; a class because Django asks for process_view
    """Let a password or a factor change together with its audit row and its mail, or not at all.

    allauth saves first and tells us afterwards; of a new app and of recovery codes it would tell after the
    commit, so what it left for then is done before. It comes last, because it runs the view itself.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Run a view that changes how a person signs in, inside a transaction."""
        match = request.resolver_match
        if request.method != "POST" or match is None or match.view_name not in SIGN_IN_CHANGES:
            return None
        with transaction.atomic():
            answer: HttpResponse = view(request, *args, **kwargs)
            if isinstance(answer, SimpleTemplateResponse):
                answer.render()
            _tell_before_the_commit()
        return answer


def _tell_before_the_commit() -> None:
    """Do now what allauth left for after the commit: the record of an act belongs to its transaction."""
    connection = transaction.get_connection()
    left = connection.run_on_commit
    told = [entry for entry in left if entry[1].__module__.startswith("allauth.mfa.")]
    connection.run_on_commit = [entry for entry in left if entry not in told]
    for _, tell, _ in told:
        tell()
