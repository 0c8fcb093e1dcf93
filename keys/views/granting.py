"""Less for a grant, or its end. More needs a new approval."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from catalog.models import LlmModel
from core import clock
from core.errors import InvalidInputError, NotFoundError
from core.money import format_usd
from keys import selectors, services
from keys.forms import EndGrantForm, ShrinkForm
from keys.models import ApiKey, Grant
from keys.services.common import require_authority, require_usable
from teams.types import PersonRequest


@require_http_methods(["GET", "HEAD", "POST"])
def shrink_grant(request: PersonRequest, public_id: str, grant_id: str) -> HttpResponse:
    """Ask what is left of a grant; on POST take the rest away."""
    key, grant = _found(request, public_id, grant_id)
    models = _models(grant)
    form = ShrinkForm(request.POST or None, models=models)
    if request.method == "POST" and form.is_valid():
        try:
            services.shrink_grant(actor=request.user, grant=grant, **_wanted(form.cleaned_data, models))
        except InvalidInputError as error:
            field = "days" if error.field == "expires_at" else error.field
            form.add_error(field if field in form.fields else None, error.detail)
        else:
            messages.success(request, f"“{key.name}” keeps what you left of {grant.tier}.")
            return redirect("keys:detail", key.public_id)
    page = {
        "title": f"Less {grant.tier} on the key “{key.name}”",
        "text": f"It lasts until {grant.expires_at:%-d %B %Y}, for up to"
        f" {format_usd(grant.monthly_cap_usd)} a month. What you take away comes back by a new request only.",
        "submit_text": "Take it away",
        "url": reverse("keys:shrink_grant", args=[key.public_id, grant.public_id]),
        "cancel_url": reverse("keys:detail", args=[key.public_id]),
    }
    return render(request, "keys/form.html", {"form": form, "page": page}, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def end_grant(request: PersonRequest, public_id: str, grant_id: str) -> HttpResponse:
    """Say what ends and ask why; on POST end the grant and leave the key as it is."""
    key, grant = _found(request, public_id, grant_id)
    form = EndGrantForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.revoke_grant(actor=request.user, grant=grant, reason=form.cleaned_data["reason"])
        messages.success(request, f"The {grant.tier} access of {key.name} has ended. The key itself goes on.")
        return redirect("keys:detail", key.public_id)
    confirm = {
        "title": f"End {grant.tier} on the key “{key.name}”?",
        "text": "The key goes on with Tier 1 and with what else is granted to it.",
        "consequences": (
            f"Calls of {grant.tier} that only this grant allows are refused at once.",
            "It can only come back by a new request.",
        ),
        "url": reverse("keys:end_grant", args=[key.public_id, grant.public_id]),
        "submit_text": "End the access",
        "cancel_url": reverse("keys:detail", args=[key.public_id]),
        "cancel_text": "Keep the access",
    }
    return render(
        request, "confirm.html", {"form": form, "confirm": confirm}, status=422 if form.errors else 200
    )


def _found(request: PersonRequest, public_id: str, grant_id: str) -> tuple[ApiKey, Grant]:
    key = selectors.find(request.user, public_id)
    require_authority(request.user, key)
    require_usable(key)
    grant = next((each for each in key.grants.all() if each.public_id == grant_id), None)
    if grant is None:
        raise NotFoundError("There is no such grant of this key.")
    return key, grant


def _models(grant: Grant) -> dict[str, str]:
    """Return the models that a grant is for, by public id; retired ones that it names too."""
    rows = (
        LlmModel.objects.filter(pk__in=grant.model_ids)
        if grant.model_ids
        else LlmModel.objects.filter(tier_id=grant.tier_id, retired_at__isnull=True)
    )
    return dict(rows.order_by("name").values_list("public_id", "name"))


def _wanted(entered: Mapping[str, Any], models: Mapping[str, str]) -> dict[str, Any]:
    left = set(entered["models"])
    days = entered["days"]
    fewer = left != set(models)
    return {
        "expires_at": clock.now() + timedelta(days=days) if days else None,
        "monthly_cap_usd": entered["monthly_cap_usd"],
        "model_ids": [*LlmModel.objects.filter(public_id__in=left).values_list("pk", flat=True)]
        if fewer
        else None,
        "reason": entered["reason"],
    }
