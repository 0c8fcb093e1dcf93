"""Providers' accounts and our keys there: what is registered is ours, what reports besides it is a bypass."""

from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from core.errors import AlreadyDoneError, InvalidInputError
from teams.selectors import require_admin
from teams.types import PersonRequest
from usage import services
from usage.forms.sources import AccountForm, CredentialForm, KeyForm, WhyForm
from usage.models import ProviderAccount
from usage.ports import SourceNames
from usage.selectors.accounts import find_account, find_key, keys_of, listed_accounts
from usage.services.registry import MAY, change_credential
from usage.views.access import administers, require_books, tabs

FORM_METHODS = ("GET", "HEAD", "POST")


@require_safe
def list_accounts(request: PersonRequest) -> HttpResponse:
    """List every account."""
    require_books(request)
    context = {
        "accounts": listed_accounts(),
        "may_change": administers(request),
        "tabs": tabs("providers:list"),
    }
    return render(request, "usage/providers.html", {"providers": context})


@require_safe
def show_account(request: PersonRequest, public_id: str, *, names_of_sources: SourceNames) -> HttpResponse:
    """Show an account and the keys that are registered for it."""
    require_books(request)
    account = find_account(public_id)
    names = names_of_sources()
    keys = [(key, names.get(key.held_by, key.held_by)) for key in keys_of(account)]
    context = {"account": account, "keys": keys, "may_change": administers(request)}
    return render(request, "usage/provider.html", {"provider": context})


@require_http_methods(FORM_METHODS)
def add_account(request: PersonRequest) -> HttpResponse:
    """Ask for an account; on POST add it."""
    _require_admin(request)
    form = AccountForm(request.POST or None)
    page = {
        "title": "Add a provider account",
        "text": "What a provider bills together. Its usage and costs are read every hour from then on.",
        "url": reverse("providers:add"),
        "submit_text": "Add the account",
        "cancel_url": reverse("providers:list"),
    }

    def act() -> HttpResponse:
        account = services.add_account(actor=request.user, **form.cleaned_data)
        messages.success(request, f"{account} is added. Register the keys that your gateways hold there.")
        return redirect("providers:detail", account.public_id)

    return _asked(request, form, page, act)


@require_http_methods(FORM_METHODS)
def change_key_place(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask where the admin key of an account is; on POST read it from there."""
    _require_admin(request)
    account = find_account(public_id)
    form = CredentialForm(request.POST or None, initial={"admin_credential": account.admin_credential})
    page = {
        "title": f"Admin credential of {account}",
        "text": "Purser keeps where the key is, and reads it when it asks the provider.",
        "url": reverse("providers:credential", args=[public_id]),
        "submit_text": "Save",
        "cancel_url": reverse("providers:detail", args=[public_id]),
    }

    def act() -> HttpResponse:
        change_credential(actor=request.user, account=account, **form.cleaned_data)
        messages.success(request, "The account's reports are read with it from now on.")
        return redirect("providers:detail", public_id)

    return _asked(request, form, page, act)


@require_http_methods(FORM_METHODS)
def register_key(request: PersonRequest, public_id: str, *, names_of_sources: SourceNames) -> HttpResponse:
    """Ask for a key's id; on POST register it."""
    _require_admin(request)
    account = find_account(public_id)
    form = KeyForm(request.POST or None, gateways=names_of_sources())
    page = {
        "title": f"Register a key of {account}",
        "text": "Usage on a key that is not registered is reported as a bypass.",
        "url": reverse("providers:register_key", args=[public_id]),
        "submit_text": "Register the key",
        "cancel_url": reverse("providers:detail", args=[public_id]),
    }

    def act() -> HttpResponse:
        key = services.register_key(actor=request.user, account=account, **form.cleaned_data)
        messages.success(request, f"The key {key} is registered.")
        return redirect("providers:detail", public_id)

    return _asked(request, form, page, act)


@require_http_methods(FORM_METHODS)
def retire_key(request: PersonRequest, public_id: str, key_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST retire a key."""
    _require_admin(request)
    key = find_key(public_id, key_id)
    confirm = {
        "title": f"Retire the key {key}?",
        "consequences": (
            "Usage that the provider counts on it from now on is reported as a bypass.",
            "It goes on working at the provider until it is revoked there.",
        ),
        "url": reverse("providers:retire_key", args=[public_id, key_id]),
        "submit_text": "Retire it",
        "cancel_url": reverse("providers:detail", args=[public_id]),
    }
    return _confirmed(
        request,
        confirm,
        lambda reason: services.retire_key(actor=request.user, key=key, reason=reason),
        said=f"The key {key} is retired.",
    )


@require_http_methods(FORM_METHODS)
def close_account(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST close an account."""
    _require_admin(request)
    account: ProviderAccount = find_account(public_id)
    confirm = {
        "title": f"Close {account}?",
        "consequences": (
            "Its usage and costs are read no more, so nobody is told of a bypass there.",
            "What was read of it, and its bills, stay.",
        ),
        "url": reverse("providers:close", args=[public_id]),
        "submit_text": "Close it",
        "cancel_url": reverse("providers:detail", args=[public_id]),
    }
    return _confirmed(
        request,
        confirm,
        lambda reason: services.close_account(actor=request.user, account=account, reason=reason),
        said=f"{account} is closed.",
    )


def _asked(
    request: PersonRequest, form: forms.Form, page: Mapping[str, str], act: Callable[[], HttpResponse]
) -> HttpResponse:
    if request.method == "POST" and form.is_valid():
        try:
            return act()
        except (InvalidInputError, AlreadyDoneError) as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
    context = {"form": form, "page": page}
    return render(request, "teams/form.html", context, status=422 if form.errors else 200)


def _confirmed(
    request: PersonRequest, confirm: Mapping[str, Any], act: Callable[[str], object], *, said: str
) -> HttpResponse:
    form = WhyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            act(form.cleaned_data["reason"])
        except (InvalidInputError, AlreadyDoneError) as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
        else:
            messages.success(request, said)
            return redirect(confirm["cancel_url"])
    context = {"form": form, "confirm": confirm}
    return render(request, "confirm.html", context, status=422 if form.errors else 200)


def _require_admin(request: PersonRequest) -> None:
    require_books(request)
    if not administers(request):
        require_admin(request.user, MAY)
