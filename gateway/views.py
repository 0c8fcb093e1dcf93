"""The decision API under plain Django: what `runserver` serves, and the twin that the raw application is
tested against.
"""

import time

import structlog
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from core import clock
from core.errors import DomainError
from gateway.auth import Credential, GatewaySignatureError, SignedRequest, verify
from gateway.hot import leases
from gateway.hot.credentials import CREDENTIAL_SQL, CredentialCache, credential_from_row
from gateway.hot.decisions import ASKS, answers, statement
from gateway.hot.refusals import unavailable
from gateway.hot.wire import Answer, PostOnlyError, refusal

log = structlog.get_logger(__name__)

_credentials = CredentialCache()


@login_not_required
@csrf_exempt
def decide(request: HttpRequest) -> HttpResponse:
    """Answer one authorize, settle or release; signed, so neither a session nor a CSRF token plays a part."""
    try:
        answer = _answer(request)
    except DomainError as error:
        answer = refusal(error)
    except DatabaseError as error:
        log.warning("decision.unavailable", path=request.path, error=str(error))
        answer = unavailable()
    response = HttpResponse(answer.encode(), status=answer.status, content_type=answer.content_type)
    response["Cache-Control"] = "no-store"
    for name, value in answer.headers:
        response[name] = value
    return response


def _answer(request: HttpRequest) -> Answer:
    if request.method != "POST":
        raise PostOnlyError
    signed = SignedRequest(
        method="POST",
        target=request.get_full_path(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.body,
    )
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
    known = _credentials.get(public_id, at=time.monotonic())
    if known:
        return known
    with connection.cursor() as cursor:
        cursor.execute(CREDENTIAL_SQL, [public_id])
        row = cursor.fetchone()
    if row is None:
        raise GatewaySignatureError(
            "gateway_unknown", "No gateway has this id. Configure it with `manage.py gateway_config`."
        )
    return _credentials.put(credential_from_row(row), at=time.monotonic())
