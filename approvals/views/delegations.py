"""Who decides for whom, and until when."""

from datetime import timedelta

from django import forms
from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from approvals import services
from approvals.forms.delegating import DelegateForm, lendable
from approvals.models import Delegation
from approvals.views.forms import add_error
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotFoundError
from teams.models import User
from teams.types import PersonRequest


@require_http_methods(["GET", "HEAD", "POST"])
def delegations(request: PersonRequest) -> HttpResponse:
    """List what the person lends and was lent; on POST lend a role of his."""
    held = lendable(request.user)
    form = DelegateForm(request.POST or None, held=held)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            lent = services.delegate(actor=request.user, **values)
        except (InvalidInputError, AlreadyDoneError) as error:
            add_error(form, error)
        else:
            last = lent.valid_until - timedelta(days=1)
            messages.success(request, f"{lent.taker} decides for you until the end of {last:%-d %B %Y}.")
            return redirect("approvals:delegations")
    context = {
        "lent": [_line(each) for each in _of(request.user)],
        "can_lend": bool(held),
        "form": form,
    }
    status = 422 if form.errors else 200
    return render(request, "approvals/delegations.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def end_delegation(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say what follows; on POST end a delegation now."""
    lent = _of(request.user).filter(public_id=public_id).first()
    if lent is None:
        raise NotFoundError("There is no such delegation, or it is not one of yours.")
    if request.method == "POST":
        services.end_delegation(actor=request.user, delegation=lent)
        messages.success(request, f"{lent.taker} does not decide for {lent.giver} any more.")
        return redirect("approvals:delegations")
    confirm = {
        "title": f"End the delegation to {lent.taker}?",
        "text": "",
        "consequences": (
            f"{lent.taker} cannot decide for {lent.giver} any more, from now on.",
            "What was decided stays decided.",
        ),
        "url": reverse("approvals:end_delegation", args=[public_id]),
        "submit_text": "End the delegation",
        "cancel_url": reverse("approvals:delegations"),
        "cancel_text": "Keep it",
    }
    return render(request, "confirm.html", {"confirm": confirm, "form": forms.Form()})


def _of(user: User) -> QuerySet[Delegation]:
    """Return the delegations from and to a person that are not over."""
    own = Delegation.objects.filter(Q(giver=user) | Q(taker=user), valid_until__gt=clock.now())
    return own.select_related("giver", "taker", "team", "department")


def _line(lent: Delegation) -> dict[str, object]:
    place = lent.team or lent.department
    return {
        "lent": lent,
        "role": f"{lent.get_role_display()}{f' of {place}' if place else ''}",
        "begun": lent.valid_from <= clock.now(),
        "end_url": reverse("approvals:end_delegation", args=[lent.public_id]),
    }
