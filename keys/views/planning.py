"""Planning activity of a key that would look like a runaway, and taking a plan back."""

from datetime import timedelta

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from core import clock
from core.errors import InvalidInputError, NotFoundError
from core.money import format_usd
from keys import selectors, services
from keys.forms import PlanForm
from keys.services.common import require_oversight, require_usable
from teams.types import PersonRequest


@require_http_methods(["GET", "HEAD", "POST"])
def plan_activity(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask when, how long and how fast; on POST let the breaker know."""
    key = selectors.find(request.user, public_id)
    require_oversight(request.user, key)
    require_usable(key)
    form = PlanForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        wanted = form.cleaned_data
        starts_at = wanted["starts_at"] or clock.now()
        try:
            plan = services.plan_activity(
                actor=request.user,
                key=key,
                starts_at=starts_at,
                ends_at=starts_at + timedelta(hours=wanted["hours"]),
                most_usd_an_hour=wanted["most_usd_an_hour"],
                reason=wanted["reason"],
            )
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else "hours", error.detail)
        else:
            amount = format_usd(plan.most_usd_an_hour)
            messages.success(
                request, f"{key.name} may spend {amount} an hour until {plan.ends_at:%-d %B %Y at %H:%M} UTC."
            )
            return redirect("keys:detail", key.public_id)
    page = {
        "title": f"Plan activity of {key.name}",
        "text": "For its time Purser does not suspend the key unless it spends faster than you plan."
        " Budgets and rates bind it all the same.",
        "submit_text": "Plan it",
        "url": reverse("keys:plan", args=[key.public_id]),
        "cancel_url": reverse("keys:detail", args=[key.public_id]),
    }
    return render(request, "keys/form.html", {"form": form, "page": page}, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def cancel_activity(request: PersonRequest, public_id: str, plan_id: str) -> HttpResponse:
    """Say what the key may spend without the plan; on POST end the plan."""
    key = selectors.find(request.user, public_id)
    require_oversight(request.user, key)
    plan = selectors.plans_to_come(key).filter(public_id=plan_id).first()
    if plan is None and request.method != "POST":
        raise NotFoundError("There is no such plan for this key, or its time is over.")
    if request.method == "POST":
        services.cancel_activity(actor=request.user, key=key, plan_id=plan_id)
        messages.success(request, f"The planned activity of {key.name} is cancelled.")
        return redirect("keys:detail", key.public_id)
    confirm = {
        "title": f"Cancel the planned activity of {key.name}?",
        "text": f"Planned: {plan.reason}" if plan else "",
        "consequences": ("From now on Purser suspends the key when it spends faster than it is used to.",),
        "url": reverse("keys:cancel_plan", args=[key.public_id, plan_id]),
        "submit_text": "Cancel the plan",
        "cancel_url": reverse("keys:detail", args=[key.public_id]),
        "cancel_text": "Keep the plan",
    }
    return render(request, "confirm.html", {"confirm": confirm})
