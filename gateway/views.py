"""The gateway API under plain Django: pushed usage, and the decision API as `runserver` serves it, the twin
that the raw application is tested against.
"""

import time
from http import HTTPStatus

import structlog
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from core import clock
from core.deadline import ends_within
from core.errors import DomainError
from gateway import pushes
from gateway.auth import Credential, GatewaySignatureError, SignedRequest, verify
from gateway.hot import leases
from gateway.hot.credentials import CREDENTIAL_SQL, CredentialCache, credential_from_row
from gateway.hot.decisions import ASKS, answers, statement
from gateway.hot.fields import BodyTooLargeError
from gateway.hot.refusals import replayed, unavailable
from gateway.hot.wire import Answer, PostOnlyError, refusal

log = structlog.get_logger(__name__)

_credentials = CredentialCache()


@login_not_required
@csrf_exempt
def decide(request: HttpRequest) -> HttpResponse:
    """Answer one authorize, settle or release; signed, so neither a session nor a CSRF token plays a part."""
    try:
        with ends_within(settings.DECISION_DEADLINE_SECONDS):
            answer = _answer(request)
    except DomainError as error:
        answer = refusal(error)
    except DatabaseError as error:
        log.warning("decision.unavailable", path=request.path, error=str(error))
        answer = unavailable()
    return _response(answer)


@login_not_required
@csrf_exempt
def push_usage(request: HttpRequest) -> HttpResponse:
    """Book the usage that a gateway pushes; signed like a decision, so neither a session nor a CSRF token
    plays a part.
    """
    try:
        answer = _pushed(request)
    except DomainError as error:
        answer = refusal(error)
    except DatabaseError as error:
        log.warning("push.unavailable", error=str(error))
        answer = unavailable()
    return _response(answer)


def _response(answer: Answer) -> HttpResponse:
    response = HttpResponse(answer.encode(), status=answer.status, content_type=answer.content_type)
    response["Cache-Control"] = "no-store"
    for name, value in answer.headers:
        response[name] = value
    return response


def _pushed(request: HttpRequest) -> Answer:
    if request.method != "POST":
        raise PostOnlyError
    credential = _credential(request.headers.get("purser-gateway", ""))
    if request.headers.get("content-encoding", "identity") != "identity":
        raise pushes.UnsupportedBodyError("Send the body as it is: packed ones are not read.")
    body = request.read(pushes.MAX_PUSH_BYTES + 1)
    if len(body) > pushes.MAX_PUSH_BYTES:
        raise BodyTooLargeError(f"Send at most {pushes.MAX_PUSH_BYTES} bytes at once, in several pushes.")
    signed = _signed(request, body)
    nonce = verify(signed, credential=credential, now_seconds=clock.now().timestamp())
    rows = pushes.read_push(body, content_type=request.headers.get("content-type", ""))
    if not pushes.use_nonce(credential, nonce):
        return replayed()
    counts = pushes.book_push(source=credential.public_id, rows=rows)
    log.info("push.booked", source=credential.public_id, booked=counts.booked, quarantined=counts.quarantined)
    return Answer(status=HTTPStatus.OK, body=counts.answer())


def _signed(request: HttpRequest, body: bytes) -> SignedRequest:
    return SignedRequest(
        method="POST",
        target=request.get_full_path(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
    )


def _answer(request: HttpRequest) -> Answer:
    if request.method != "POST":
        raise PostOnlyError
    signed = _signed(request, request.body)
    credential = _credential(signed.headers.get("purser-gateway", ""))
    nonce = verify(signed, credential=credential, now_seconds=clock.now().timestamp())
    ask_of = ASKS.get(request.path) or leases.ASKS[request.path]
    ask = ask_of(signed.body, credential=credential, nonce=nonce)
    if isinstance(ask, Answer):
        return ask
    with connection.cursor() as cursor:
        if isinstance(ask, leases.Single):
            cursor.execute(ask.sql, ask.params)
            return ask.answer(cursor.fetchall())
        cursor.execute(*statement(ask.kind, [ask]))
        return answers([ask], cursor.fetchall())[0]


def _credential(public_id: str) -> Credential:
    at = time.monotonic()  # before the look: what changes meanwhile is not known
    known = _credentials.get(public_id, at=at)
    if known:
        return known
    with connection.cursor() as cursor:
        cursor.execute(CREDENTIAL_SQL, [public_id])
        row = cursor.fetchone()
    if row is None:
        raise GatewaySignatureError(
            "gateway_unknown", "No gateway has this id. Configure it with `manage.py gateway_config`."
        )
    return _credentials.put(credential_from_row(row), at=at)
