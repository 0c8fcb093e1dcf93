"""Large bodies are cut off at the door: Django would keep any body whole before it asks who sends it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from core.problems import CONTENT_TYPE, problem
from core.rest.parsing import MAX_BODY_BYTES
from gateway.pushes import MAX_PUSH_BYTES

Handler = Callable[[HttpRequest], HttpResponse]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

LARGEST_BODY_BYTES = MAX_PUSH_BYTES  # of anything; forms say themselves what is too large for them
API = "/api/"
FOR_PROGRAMS = (API, "/gateway/", "/scim/")
CUT = "purser.body_is_cut"


def cut_off(scope: MutableMapping[str, Any], receive: Receive) -> Receive:
    """Return what gives a body up to its limit and then ends it; `refuse_cut_bodies` sees by the scope that
    it did. A body that says beforehand that it is too large is not read at all.
    """
    room = most_bytes(scope["path"])
    scope[CUT] = _announced(scope) > room
    ended = False

    async def receive_some() -> Message:
        nonlocal room, ended
        if ended:  # what Django waits for next is the client's leaving, and the answer comes before
            await asyncio.get_running_loop().create_future()
        message = {} if scope[CUT] else await receive()
        room -= len(message.get("body", b""))
        if room < 0 or scope[CUT]:
            scope[CUT] = ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        return message

    return receive_some


def most_bytes(path: str) -> int:
    """Return how large a body may be at an address."""
    return MAX_BODY_BYTES if path.startswith(API) else LARGEST_BODY_BYTES


def refuse_cut_bodies(get_response: Handler) -> Handler:
    """Refuse a request whose body was cut, before anything asks who sends it."""

    def handle(request: HttpRequest) -> HttpResponse:
        if not getattr(request, "scope", {}).get(CUT):
            return get_response(request)
        response = _refusal(request)
        response["Connection"] = "close"  # what is still to come of the body is not waited for
        return response

    return handle


def _announced(scope: MutableMapping[str, Any]) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


def _refusal(request: HttpRequest) -> HttpResponse:
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if not request.path.startswith(FOR_PROGRAMS):
        return render(request, "413.html", {"most": LARGEST_BODY_BYTES // 1024**2}, status=status)
    document = problem(
        status=status,
        code="body_too_large",
        title=status.phrase,
        detail=f"At most {most_bytes(request.path):,} bytes are read, and nothing was done. Send less.",
    )
    return JsonResponse(document, status=status, content_type=CONTENT_TYPE)
