"""The end of a key: what happens is said before it is asked why."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from core.errors import InvalidInputError
from core.money import format_usd
from core.words import counted
from keys import selectors, services
from keys.forms import RevokeForm
from keys.models import ApiKey
from keys.ports import ExposureOfKey, KeyExposure
from keys.selectors import active_grants
from keys.services.common import require_authority, require_usable
from teams.models import User
from teams.types import PersonRequest


@require_http_methods(["GET", "HEAD", "POST"])
def revoke_key(request: PersonRequest, public_id: str, *, exposure_of: ExposureOfKey) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST revoke the key."""
    key = selectors.find(request.user, public_id)
    require_authority(request.user, key)
    if request.method != "POST":
        require_usable(key)
        return _confirm(request, key, RevokeForm(), exposure_of)
    form = RevokeForm(request.POST)
    if form.is_valid():
        try:
            services.revoke(actor=request.user, key=key, reason=form.cleaned_data["reason"])
        except InvalidInputError as error:
            form.add_error("reason", error.detail)
        else:
            messages.success(request, f"{key.name} is revoked: calls with it are refused from now on.")
            return redirect("keys:list")
    return _confirm(request, key, form, exposure_of, status=422)


def _confirm(
    request: PersonRequest, key: ApiKey, form: RevokeForm, exposure_of: ExposureOfKey, *, status: int = 200
) -> HttpResponse:
    confirm = {
        "title": f"Revoke the key {key.name}?",
        "text": "A revoked key stays revoked. For a new one, make or ask for another key.",
        "consequences": tuple(_consequences(key, request.user, exposure_of(key.pk))),
        "url": reverse("keys:revoke", args=[key.public_id]),
        "submit_text": "Revoke the key",
        "cancel_url": reverse("keys:list"),
        "cancel_text": "Keep the key",
    }
    return render(request, "confirm.html", {"form": form, "confirm": confirm}, status=status)


def _consequences(key: ApiKey, user: User, exposure: KeyExposure) -> list[str]:
    lines = [f"Calls with {_secrets(key)} are refused with 401 at once, on every gateway within a second."]
    if not key.revealed_at:
        lines = ["It has no secret yet."]
    lines.append(f"Project {key.project} of team {key.project.team} loses what runs with it.")
    lines += [
        f"Its access to {grant.tier} ends, which was granted until {grant.expires_at:%-d %B %Y}."
        for grant in active_grants(key)
    ]
    lines += _use(exposure)
    if key.owner_id != user.pk:
        lines.append(f"{key.owner}, who owns it, is told by e-mail.")
    return lines


def _secrets(key: ApiKey) -> str:
    return f"{key.masked} and {key.previous_masked}" if key.previous_is_live else key.masked


def _use(exposure: KeyExposure) -> list[str]:
    """Say how much depends on the key: when it was last used, and its calls and cost lately."""
    if exposure.last_used_at:
        last = f"{exposure.last_used_at:%-d %B %Y at %H:%M} UTC"
    elif exposure.last_used_on:
        last = f"{exposure.last_used_on:%-d %B %Y}"
    else:
        return ["It was never used."]
    lately = [
        f"{time.label}: {counted(time.calls, 'call')} for {format_usd(time.usd)}." for time in exposure.times
    ]
    return [f"It was last used on {last}.", *lately]
