"""Several small requests of one tier, approved at a time: choose, read each once more, confirm."""

from collections.abc import Sequence

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from approvals import selectors, services
from approvals.allowed import refusals
from approvals.loading import loaded
from approvals.models import AccessRequest
from approvals.rules import tell_in_force
from approvals.services.together import fits_together
from core.errors import InvalidInputError
from teams.types import PersonRequest


@require_http_methods(["GET", "HEAD", "POST"])
def approve_several(request: PersonRequest) -> HttpResponse:
    """Let the person choose; with `?request=` name those again; on POST approve them and say of each."""
    offered = fitting(selectors.inbox(request.user).requests)
    if request.method == "POST":
        return _approve(request, offered)
    wanted = request.GET.getlist("request")
    chosen = [each for each in offered if each.public_id in wanted]
    context = {"offered": offered, "chosen": chosen, "none_chosen": "choose" in request.GET and not chosen}
    return render(request, "approvals/together.html", context)


def fitting(requests: Sequence[AccessRequest]) -> list[AccessRequest]:
    """Return the requests that may be approved with others, and can be at all. One query."""
    policies = tell_in_force(requests)
    return [
        each
        for each in requests
        if each.tier_id in policies and fits_together(each, policies[each.tier_id]) and not refusals(each)
    ]


def _approve(request: PersonRequest, offered: Sequence[AccessRequest]) -> HttpResponse:
    """Approve what was confirmed; what cannot be approved any more is reported with its own refusal."""
    seen = _seen(request.POST.getlist("seen"))
    visible = AccessRequest.objects.visible_to(request.user).filter(public_id__in=seen)
    rows = list(loaded(visible).order_by("decide_by", "pk"))
    if not rows:
        return redirect("approvals:together")
    try:
        answered = services.approve_together(
            actor=request.user, chosen=[(each, seen[each.public_id]) for each in rows]
        )
    except InvalidInputError as error:
        context = {"offered": offered, "refusal": error}
        return render(request, "approvals/together.html", context, status=error.status)
    refused = [each for each in answered if each.refusal]
    context = {"answered": answered, "refused": refused, "approved": len(answered) - len(refused)}
    return render(request, "approvals/together.html", context, status=409 if refused else 200)


def _seen(written: Sequence[str]) -> dict[str, int]:
    """Return the revision that was read by the id of its request, from texts such as `req_...:2`."""
    parts = [text.rpartition(":") for text in written]
    return {public_id: int(number) for public_id, _, number in parts if number.isdecimal()}
