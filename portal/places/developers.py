"""How to call: a model through each gateway, what a refused call answers, and Purser's own API."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from catalog.selectors import everyday_reference
from core import clock
from gateway.hot.wire import Answer
from gateway.models import Gateway
from gateway.selectors import serving_gateways
from portal.places import examples, snippets
from teams.types import PersonRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A gateway, where callers reach it, and what they paste."""

    name: str
    address: str
    curl: str
    python: str
    messages: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An answer to a call that was refused, as it comes: headers that matter and the body."""

    code: str
    status: int
    phrase: str
    meaning: str
    headers: tuple[tuple[str, str], ...]
    body: str


@require_safe
def developers(request: PersonRequest) -> HttpResponse:
    """Show what to paste and what comes back. Three queries."""
    cheapest = everyday_reference(at=clock.now())
    context = {
        "doors": list(_doors(cheapest.name if cheapest else "")),
        "refusals": [_refused(each) for each in examples.refusals()],
        "management": snippets.MANAGEMENT.format(base_url=settings.BASE_URL),
    }
    return render(request, "portal/developers.html", context)


def _doors(model: str) -> Iterator[Door]:
    """Give each gateway; the only one, or none yet, is reached where all callers are sent."""
    gateways = serving_gateways()
    if len(gateways) < 2:
        name = gateways[0].name if gateways else "the gateway"
        yield _door(name, settings.GATEWAY_PUBLIC_URL, model)
        return
    for gateway in gateways:
        yield _door(gateway.name, _address_of(gateway), model)


def _address_of(gateway: Gateway) -> str:
    return gateway.base_url.rstrip("/") or settings.GATEWAY_PUBLIC_URL


def _door(name: str, address: str, model: str) -> Door:
    return Door(
        name=name,
        address=address,
        curl=snippets.curl(base_url=address, model=model),
        python=snippets.python(base_url=address, model=model),
        messages=snippets.messages(base_url=address, model=model),
    )


def _refused(example: examples.Example) -> Refused:
    answer: Answer = example.answer
    body = json.loads(answer.encode())
    return Refused(
        code=body["code"],
        status=answer.status,
        phrase=HTTPStatus(answer.status).phrase,
        meaning=example.meaning,
        headers=answer.headers,
        body=json.dumps(body, indent=1, ensure_ascii=False),
    )
