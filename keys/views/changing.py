"""A new name and a new secret for a key."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from core.errors import InvalidInputError
from keys import selectors, services
from keys.errors import NotRevealedError
from keys.forms import RenameForm, RotateForm
from keys.models import ApiKey
from keys.services.common import require_authority, require_usable
from teams.types import PersonRequest


@require_http_methods(["GET", "HEAD", "POST"])
def rename_key(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask for another name; on POST give it."""
    key = selectors.find(request.user, public_id)
    require_authority(request.user, key)
    require_usable(key)
    form = RenameForm(request.POST or None, initial={"name": key.name})
    if request.method == "POST" and form.is_valid():
        try:
            renamed = services.rename_key(actor=request.user, key=key, name=form.cleaned_data["name"])
        except InvalidInputError as error:
            form.add_error("name", error.detail)
        else:
            messages.success(request, f"The key is called {renamed.name} from now on.")
            return redirect("keys:detail", key.public_id)
    page = {
        "title": f"Rename {key.name}",
        "text": "Its secret, project, grants and budgets stay as they are.",
        "submit_text": "Rename the key",
        "url": reverse("keys:rename", args=[key.public_id]),
    }
    return _form_page(request, key, form, page)


@require_http_methods(["GET", "HEAD", "POST"])
def rotate_key(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask how long the present secret goes on; on POST let the owner reveal the next."""
    key = selectors.find(request.user, public_id)
    require_authority(request.user, key)
    require_usable(key)
    if key.revealed_at is None:
        raise NotRevealedError(f"{key.name} has no secret yet. Its owner can reveal it.")
    form = RotateForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.rotate(actor=request.user, key=key, overlap_hours=form.cleaned_data["overlap_hours"])
        if key.owner_id == request.user.pk:
            return redirect("keys:reveal", key.public_id)
        messages.success(request, f"{key.owner}, who owns {key.name}, is asked to reveal its new secret.")
        return redirect("keys:detail", key.public_id)
    whose = "you reveal" if key.owner_id == request.user.pk else f"{key.owner} reveals"
    page = {
        "title": f"Rotate {key.name}",
        "text": f"The key gets a new secret, and keeps its name, tiers, budgets and history. Nothing changes"
        f" until {whose} the new secret. Then both are good until the present one, {key.masked}, ends.",
        "submit_text": "Go on to the new secret" if whose == "you reveal" else "Ask for the rotation",
        "url": reverse("keys:rotate", args=[key.public_id]),
    }
    return _form_page(request, key, form, page)


@require_http_methods(["GET", "HEAD", "POST"])
def end_previous_secret(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say what ends; on POST end the secret that a rotation left for a while."""
    key = selectors.find(request.user, public_id)
    require_authority(request.user, key)
    if request.method == "POST":
        services.end_previous_secret(actor=request.user, key=key)
        messages.success(request, f"{key.previous_masked} has ended. {key.masked} is good.")
        return redirect("keys:detail", key.public_id)
    confirm = {
        "title": f"End the older secret of {key.name}?",
        "consequences": (
            f"Calls with {key.previous_masked} are refused with 401 at once.",
            f"Calls with {key.masked}, the newer secret, go on.",
        ),
        "url": reverse("keys:end_previous", args=[key.public_id]),
        "submit_text": "End the older secret",
        "cancel_url": reverse("keys:detail", args=[key.public_id]),
        "cancel_text": "Keep both",
    }
    return render(request, "confirm.html", {"confirm": confirm})


def _form_page(
    request: PersonRequest, key: ApiKey, form: RenameForm | RotateForm, page: dict[str, str]
) -> HttpResponse:
    shown = page | {"cancel_url": reverse("keys:detail", args=[key.public_id])}
    return render(
        request, "keys/form.html", {"form": form, "page": shown}, status=422 if form.errors else 200
    )
