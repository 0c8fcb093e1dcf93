"""Tokens of the management API, of a person and of services: made, shown once, revoked."""

from dataclasses import dataclass
from datetime import timedelta

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from core import clock
from core.errors import InvalidInputError, NotFoundError
from core.shapes import Tone
from keys import services
from keys.errors import AlreadyRevealedError
from keys.forms import NewServiceForm, NewTokenForm, RevokeForm
from keys.models import ApiToken, KeyState
from keys.scopes import SCOPES
from keys.selectors import TONES, token_owners
from keys.services.common import ENDED
from teams.models import Role, User
from teams.selectors import require_admin, roles_of
from teams.types import PersonRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A token as its owner sees it; an address is empty where there is nothing to do."""

    token: ApiToken
    state: Tone
    scopes: tuple[str, ...]
    reveal_url: str
    revoke_url: str


@require_safe
def list_tokens(request: PersonRequest) -> HttpResponse:
    """List the tokens of the person and of his services, ended ones too, the newest first."""
    request.roles_held = roles_of(request.user)
    rows = [_row(token) for token in ApiToken.objects.visible_to(request.user).select_related("owner")]
    opens = Role.ADMIN in request.roles_held.organisation_wide
    return render(request, "keys/tokens.html", {"rows": rows, "opens_services": opens})


@require_http_methods(["GET", "HEAD", "POST"])
def create_token(request: PersonRequest) -> HttpResponse:
    """Ask what the token is for; on POST make it and go on to its reveal."""
    found = sorted(token_owners(request.user), key=lambda owner: owner.pk != request.user.pk)
    owners = {owner.public_id: owner for owner in found}
    form = NewTokenForm(request.POST or None, owners={key: str(owner) for key, owner in owners.items()})
    if request.method == "POST" and form.is_valid():
        entered = form.cleaned_data
        try:
            token = services.make_token(
                actor=request.user,
                name=entered["name"],
                scopes=entered["scopes"],
                owner=owners[entered.get("owner", request.user.public_id)],
                expires_at=clock.now() + timedelta(days=entered["days"]),
            )
            return redirect("keys:reveal_token", token.public_id)
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
    page = {
        "title": "New API token",
        "text": "A program that sends it does as you do at /api/v1/, within what you choose here. It never"
        " reveals a key and never decides a request: that takes you.",
        "submit_text": "Make the token",
        "url": reverse("keys:create_token"),
        "cancel_url": reverse("keys:tokens"),
    }
    return render(request, "keys/form.html", {"form": form, "page": page}, status=422 if form.errors else 200)


@never_cache
@sensitive_variables()
@require_http_methods(["GET", "HEAD", "POST"])
def reveal_token(request: PersonRequest, token_id: str) -> HttpResponse:
    """Ask before the secret is shown; on POST show it in this one answer, and never again."""
    token = _found(request, token_id)
    if request.method != "POST":
        return render(request, "keys/token.html", {"row": _row(token)})
    try:
        shown = services.reveal_token(actor=request.user, token=token)
    except AlreadyRevealedError:
        return render(request, "keys/token.html", {"row": _row(token)}, status=409)
    return render(request, "keys/token.html", {"row": _row(shown.token), "secret": shown.secret})


@require_http_methods(["GET", "HEAD", "POST"])
def revoke_token(request: PersonRequest, token_id: str) -> HttpResponse:
    """Say what ends and ask why; on POST revoke the token."""
    token = _found(request, token_id)
    form = RevokeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.revoke_token(actor=request.user, token=token, reason=form.cleaned_data["reason"])
        messages.success(request, f"{token.name} is revoked: calls with it are refused from now on.")
        return redirect("keys:tokens")
    used = (
        f"It was last used on {token.last_used_at:%-d %B %Y at %H:%M} UTC."
        if token.last_used_at
        else "It was never used."
    )
    confirm = {
        "title": f"Revoke the API token {token.name}?",
        "consequences": (f"Calls with {token.masked} are refused with 401 at once.", used),
        "url": reverse("keys:revoke_token", args=[token.public_id]),
        "submit_text": "Revoke the token",
        "cancel_url": reverse("keys:tokens"),
        "cancel_text": "Keep the token",
    }
    return render(
        request, "confirm.html", {"form": form, "confirm": confirm}, status=422 if form.errors else 200
    )


@require_http_methods(["GET", "HEAD", "POST"])
def create_service(request: PersonRequest) -> HttpResponse:
    """Ask for a program's name and who answers for it; on POST open its account."""
    require_admin(request.user, "open a service account")
    form = NewServiceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        entered = form.cleaned_data
        responsible = User.objects.filter(email=entered["responsible"].lower()).first()
        try:
            if responsible is None:
                raise InvalidInputError("There is nobody with this address.", field="responsible")
            account = services.open_service_account(
                actor=request.user, name=entered["name"], responsible=responsible
            )
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
        else:
            messages.success(request, f"{account} has an account. {responsible} can make its tokens.")
            return redirect("keys:tokens")
    page = {
        "title": "New service account",
        "text": "A program with roles of its own: give it a team or a role afterwards, as you do a person."
        " It cannot sign in. Whoever answers for it makes its tokens, and they end when that person leaves.",
        "submit_text": "Open the account",
        "url": reverse("keys:create_service"),
        "cancel_url": reverse("keys:tokens"),
    }
    return render(request, "keys/form.html", {"form": form, "page": page}, status=422 if form.errors else 200)


def _found(request: PersonRequest, token_id: str) -> ApiToken:
    token = ApiToken.objects.visible_to(request.user).filter(public_id=token_id).first()
    if token is None:
        raise NotFoundError("There is no such token, or it is not one of yours.")
    return token


def _row(token: ApiToken) -> TokenRow:
    state = token.state
    waits = state is KeyState.AWAITING_REVEAL
    return TokenRow(
        token=token,
        state=Tone(tone=TONES[state], text=state.label),
        scopes=tuple(SCOPES.get(scope, scope) for scope in token.scopes),
        reveal_url=reverse("keys:reveal_token", args=[token.public_id]) if waits else "",
        revoke_url="" if state in ENDED else reverse("keys:revoke_token", args=[token.public_id]),
    )
