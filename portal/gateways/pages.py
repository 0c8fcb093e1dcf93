"""The pages of gateways, for administrators."""

from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods, require_safe

from core.errors import NotFoundError
from core.forms import ReasonField
from core.reasons import MOST_CHARACTERS
from gateway import services
from gateway.models import Gateway
from portal.context import administers, roles_here
from teams.types import PersonRequest

NO_SUCH_PAGE = "There is no such gateway, or it is not for your role. Ask an administrator."


class ReasonForm(forms.Form):
    """Why a gateway is switched."""

    reason = ReasonField(label="Reason", max_length=MOST_CHARACTERS)


@require_safe
def list_gateways(request: PersonRequest) -> HttpResponse:
    """List every gateway, on and off."""
    _require_admin(request)
    return render(request, "portal/gateways.html", {"gateways": list(Gateway.objects.order_by("name"))})


@require_http_methods(["GET", "HEAD", "POST"])
def disable(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST switch the gateway off."""
    gateway = _find(request, public_id)
    question = {
        "title": f"Switch off the gateway {gateway}?",
        "text": "You can switch it on again at any time.",
        "consequences": (
            "Within a second no call through it is allowed, whoever makes it.",
            "It decides nothing by itself any more: its leases are recalled.",
            "Calls that are under way are charged what they hold, until it is on again and tells of them.",
            "Its journal and logs are not read: days from now on have no other side.",
        ),
        "url": reverse("gateways:disable", args=[public_id]),
        "submit_text": "Switch off",
    }
    return _ask(request, gateway, question, services.disable_gateway, f"The gateway {gateway} is off.")


@require_http_methods(["GET", "HEAD", "POST"])
def enable(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST switch the gateway on."""
    gateway = _find(request, public_id)
    question = {
        "title": f"Switch on the gateway {gateway}?",
        "text": "If its secret may be known to others, make a new one first: gateway_config --rotate.",
        "consequences": (
            "It may ask for decisions at once, with the secrets that it had.",
            "Its journal and logs are read from where the reading stopped.",
        ),
        "url": reverse("gateways:enable", args=[public_id]),
        "submit_text": "Switch on",
    }
    return _ask(request, gateway, question, services.enable_gateway, f"The gateway {gateway} is on.")


def routes() -> tuple[list[URLPattern], str]:
    """Return the pages of gateways with their name space."""
    patterns = [
        path("", list_gateways, name="list"),
        path("<str:public_id>/disable/", disable, name="disable"),
        path("<str:public_id>/enable/", enable, name="enable"),
    ]
    return patterns, "gateways"


def _ask(
    request: PersonRequest,
    gateway: Gateway,
    question: Mapping[str, Any],
    act: Callable[..., Gateway],
    said: str,
) -> HttpResponse:
    """Ask for a reason before an act, then do it."""
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        act(actor=request.user, gateway=gateway, reason=form.cleaned_data["reason"])
        messages.success(request, said)
        return redirect("gateways:list")
    confirm = {**question, "cancel_url": reverse("gateways:list")}
    context = {"form": form, "confirm": confirm}
    return render(request, "confirm.html", context, status=422 if form.errors else 200)


def _require_admin(request: PersonRequest) -> None:
    if not administers(roles_here(request)):
        raise NotFoundError(NO_SUCH_PAGE)


def _find(request: PersonRequest, public_id: str) -> Gateway:
    _require_admin(request)
    gateway = Gateway.objects.filter(public_id=public_id).first()
    if gateway is None:
        raise NotFoundError(NO_SUCH_PAGE)
    return gateway
