"""Webhooks: addresses that are told of acts, for administrators."""

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import InvalidInputError, NotFoundError
from core.forms import ReasonField
from core.models import Outbox, Webhook
from core.webhooks import secret_of
from portal.context import administers, roles_here
from portal.services import webhooks as services
from teams.models import User
from teams.types import PersonRequest

NO_SUCH_PAGE = "There is no such webhook, or it is not for your role. Ask an administrator."
FORM_METHODS = ("GET", "HEAD", "POST")


class WebhookForm(forms.Form):
    """Where to, of what, and why."""

    url = forms.URLField(
        label="Address",
        max_length=500,
        assume_scheme="https",
        help_text="It begins with https://, is on the public internet, and answers within ten seconds.",
    )
    description = forms.CharField(label="What is it for", max_length=120)
    actions = forms.CharField(
        label="Actions",
        required=False,
        help_text="Such as request. or key.revoked, with spaces between them. Empty is everything.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_actions(self) -> list[str]:
        """Return the actions, each once."""
        return list(dict.fromkeys(self.cleaned_data["actions"].split()))


class ReasonForm(forms.Form):
    """Why a webhook is switched off."""

    reason = ReasonField(label="Reason", max_length=services.MAX_TEXT)


@require_http_methods(FORM_METHODS)
def list_webhooks(request: PersonRequest) -> HttpResponse:
    """List webhooks; on POST add one and show its secret, this once."""
    _require_admin(request)
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            added = services.add_webhook(actor=request.user, **form.cleaned_data)
        except InvalidInputError as error:
            form.add_error(error.field, error.detail)
        else:
            return _show(request, added, secret=secret_of(added, 1))
    context = {"webhooks": list(Webhook.objects.all()), "form": form}
    return render(request, "portal/webhooks.html", context, status=422 if form.errors else 200)


@require_safe
def show_webhook(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one webhook and its last deliveries."""
    return _show(request, _find(request, public_id))


@require_POST
def rotate_secret(request: PersonRequest, public_id: str) -> HttpResponse:
    """Make a new secret and show it, this once."""
    webhook = services.rotate_webhook_secret(actor=request.user, webhook=_find(request, public_id))
    return _show(request, webhook, secret=secret_of(webhook, max(webhook.live_versions)))


@require_POST
def send_test(request: PersonRequest, public_id: str) -> HttpResponse:
    """Queue a test event."""
    webhook = _find(request, public_id)
    services.send_test_event(actor=request.user, webhook=webhook)
    messages.success(request, "A test is on its way. It is listed here within seconds.")
    return redirect("webhooks:detail", public_id)


@require_POST
def enable(request: PersonRequest, public_id: str) -> HttpResponse:
    """Switch a webhook on again."""
    return _act(request, public_id, services.enable_webhook, "The webhook is on.")


@require_http_methods(FORM_METHODS)
def disable(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST switch the webhook off."""
    webhook = _find(request, public_id)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.disable_webhook(actor=request.user, webhook=webhook, reason=form.cleaned_data["reason"])
        messages.success(request, "The webhook is off.")
        return redirect("webhooks:detail", public_id)
    confirm = {
        "title": f"Switch off the webhook {webhook}?",
        "text": "You can switch it on again at any time.",
        "consequences": ("It is not told what happens meanwhile, not even later.",),
        "url": reverse("webhooks:disable", args=[public_id]),
        "submit_text": "Switch off",
        "cancel_url": reverse("webhooks:detail", args=[public_id]),
    }
    context = {"form": form, "confirm": confirm}
    return render(request, "confirm.html", context, status=422 if form.errors else 200)


def routes() -> tuple[list[URLPattern], str]:
    """Return the pages of webhooks with their name space."""
    patterns = [
        path("", list_webhooks, name="list"),
        path("<str:public_id>/", show_webhook, name="detail"),
        path("<str:public_id>/rotate/", rotate_secret, name="rotate"),
        path("<str:public_id>/test/", send_test, name="test"),
        path("<str:public_id>/disable/", disable, name="disable"),
        path("<str:public_id>/enable/", enable, name="enable"),
    ]
    return patterns, "webhooks"


def _act(request: PersonRequest, public_id: str, act: Callable[..., Webhook], said: str) -> HttpResponse:
    act(actor=request.user, webhook=_find(request, public_id))
    messages.success(request, said)
    return redirect("webhooks:detail", public_id)


def _show(request: PersonRequest, webhook: Webhook, *, secret: str = "") -> HttpResponse:
    """Show a webhook; a secret stands in this one answer, which nothing keeps: the same form again leads to
    the page without it.
    """
    sent = Outbox.objects.filter(kind="webhook", recipient=webhook.public_id).order_by("-pk")[:20]
    context = {"webhook": webhook, "secret": secret, "sent": list(sent)}
    response = render(request, "portal/webhook.html", context)
    response["Cache-Control"] = "no-store"
    response["Content-Location"] = reverse("webhooks:detail", args=[webhook.public_id])
    return response


def _require_admin(request: PersonRequest) -> User:
    if not administers(roles_here(request)):
        raise NotFoundError(NO_SUCH_PAGE)
    return request.user


def _find(request: PersonRequest, public_id: str) -> Webhook:
    _require_admin(request)
    webhook = Webhook.objects.filter(public_id=public_id).first()
    if webhook is None:
        raise NotFoundError(NO_SUCH_PAGE)
    return webhook
