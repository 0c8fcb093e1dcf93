"""Stopping a key for a time, and letting it go on."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from core.errors import InvalidInputError
from keys import selectors, services
from keys.errors import NotSuspendedError
from keys.forms import SuspendForm
from keys.models import ApiKey
from keys.services.common import require_authority, require_oversight, require_usable
from teams.types import PersonRequest


@require_http_methods(["GET", "HEAD", "POST"])
def suspend_key(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST refuse calls with the key until it is resumed."""
    key = selectors.find(request.user, public_id)
    require_authority(request.user, key)
    require_usable(key)
    form = SuspendForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.suspend(actor=request.user, key=key, reason=form.cleaned_data["reason"])
        except InvalidInputError as error:
            form.add_error("reason", error.detail)
        else:
            messages.success(request, f"{key.name} is suspended: its calls are refused until it is resumed.")
            return redirect("keys:detail", key.public_id)
    confirm = _page(key, "suspend") | {
        "title": f"Suspend the key {key.name}?",
        "text": "A suspended key keeps its secret, tiers and budgets, and can be resumed.",
        "consequences": (
            "Calls with it are refused with 403 at once, on every gateway within a second.",
            f"Project {key.project} of team {key.project.team} waits with what runs with it.",
            "The lead of the team, its director or an administrator can resume it.",
        ),
        "submit_text": "Suspend the key",
        "cancel_text": "Let it run",
    }
    return _confirm(request, confirm, form)


@require_http_methods(["GET", "HEAD", "POST"])
def resume_key(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say why the key is suspended; on POST let it go on."""
    key = selectors.find(request.user, public_id)
    require_oversight(request.user, key)
    if request.method == "POST":
        services.resume(actor=request.user, key=key)
        messages.success(request, f"{key.name} goes on. What it spent before is not held against it.")
        return redirect("keys:detail", key.public_id)
    require_usable(key)
    if key.suspended_at is None:
        raise NotSuspendedError(f"{key.name} is not suspended: it was resumed, or never stopped.")
    confirm = _page(key, "resume") | {
        "title": f"Resume the key {key.name}?",
        "text": f"It is suspended since {key.suspended_at:%-d %B %Y at %H:%M} UTC: {key.suspended_reason}",
        "consequences": (
            "Calls with it are let through again at once.",
            "What it spent before is not held against it: it is suspended again if it goes on as fast.",
        ),
        "submit_text": "Resume the key",
        "cancel_text": "Leave it suspended",
    }
    return _confirm(request, confirm)


def _page(key: ApiKey, act: str) -> dict[str, object]:
    where = [key.public_id]
    return {"url": reverse(f"keys:{act}", args=where), "cancel_url": reverse("keys:detail", args=where)}


def _confirm(
    request: PersonRequest, confirm: dict[str, object], form: SuspendForm | None = None
) -> HttpResponse:
    status = 422 if form and form.errors else 200
    return render(request, "confirm.html", {"confirm": confirm, "form": form}, status=status)
