"""The pages of gateways, for administrators."""

from collections.abc import Callable, Sequence

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods, require_safe

from core.errors import NotFoundError
from core.forms import ReasonForm
from gateway import services
from gateway.models import Gateway
from portal.context import require_admin_here
from teams.types import PersonRequest
from teams.views.acting import METHODS, confirm_page, done


@require_safe
def list_gateways(request: PersonRequest) -> HttpResponse:
    """List every gateway, on and off."""
    require_admin_here(request, "see gateways")
    return render(request, "portal/gateways.html", {"gateways": list(Gateway.objects.order_by("name"))})


@require_http_methods(METHODS)
def disable(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST switch the gateway off."""
    gateway = _find(request, public_id)
    return _switch(
        request,
        gateway,
        services.disable_gateway,
        title=f"Switch off the gateway {gateway}?",
        lines=(
            "Within a second no call through it is allowed, whoever makes it.",
            "It decides nothing by itself any more: its leases are recalled.",
            "Calls that are under way are charged what they hold, until it is on again and tells of them.",
            "Its journal and logs are not read: days from now on have no other side.",
            "You can switch it on again at any time.",
        ),
        submit="Switch off",
        said=f"The gateway {gateway} is off.",
    )


@require_http_methods(METHODS)
def enable(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST switch the gateway on."""
    gateway = _find(request, public_id)
    return _switch(
        request,
        gateway,
        services.enable_gateway,
        title=f"Switch on the gateway {gateway}?",
        lines=(
            "It may ask for decisions at once, with the secrets that it had.",
            "Its journal and logs are read from where the reading stopped.",
            "If its secret may be known to others, make a new one first: gateway_config --rotate.",
        ),
        submit="Switch on",
        said=f"The gateway {gateway} is on.",
    )


def routes() -> tuple[list[URLPattern], str]:
    """Return the pages of gateways with their name space."""
    patterns = [
        path("", list_gateways, name="list"),
        path("<str:public_id>/disable/", disable, name="disable"),
        path("<str:public_id>/enable/", enable, name="enable"),
    ]
    return patterns, "gateways"


def _switch(
    request: PersonRequest,
    gateway: Gateway,
    act: Callable[..., Gateway],
    *,
    title: str,
    lines: Sequence[str],
    submit: str,
    said: str,
) -> HttpResponse:
    """Ask for a reason before an act, then do it."""
    form = ReasonForm(request.POST or None)
    if done(form, lambda entered: act(actor=request.user, gateway=gateway, **entered)):
        messages.success(request, said)
        return redirect("gateways:list")
    back = reverse("gateways:list")
    return confirm_page(request, form, title=title, lines=lines, submit=submit, back=back)


def _find(request: PersonRequest, public_id: str) -> Gateway:
    require_admin_here(request, "see gateways")
    gateway = Gateway.objects.filter(public_id=public_id).first()
    if gateway is None:
        raise NotFoundError("There is no such gateway.")
    return gateway
