"""Webhooks: addresses that are told of acts, for administrators."""

from collections.abc import Callable, Sequence

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import InvalidInputError, NotFoundError
from core.forms import ReasonForm
from core.models import Webhook
from core.webhooks import secret_of
from portal.context import require_admin_here
from portal.news.selectors import told, webhooks
from portal.services import webhooks as services
from teams.types import PersonRequest
from teams.views.acting import METHODS, confirm_page, done

MOST_SHOWN = 20


class WebhookForm(forms.Form):
    """Where to, of what, and why."""

    url = forms.URLField(
        label="Address",
        max_length=services.MAX_URL,
        assume_scheme="https",
        error_messages={"required": "Enter the address, such as https://tools.example/purser"},
        help_text="It begins with https://, is on the public internet, and answers within ten seconds.",
    )
    description = forms.CharField(
        label="What is it for",
        max_length=services.MAX_DESCRIPTION,
        error_messages={"required": "Enter what it is for"},
    )
    actions = forms.CharField(
        label="Actions",
        required=False,
        help_text="Such as request. or key.revoked, with spaces between them. Empty is everything.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_actions(self) -> list[str]:
        """Return the actions, each once."""
        return list(dict.fromkeys(self.cleaned_data["actions"].split()))


@require_http_methods(METHODS)
def list_webhooks(request: PersonRequest) -> HttpResponse:
    """List webhooks; on POST add one and show its secret, this once."""
    require_admin_here(request, "see webhooks")
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            added = services.add_webhook(actor=request.user, **form.cleaned_data)
        except services.WebhookThereError as error:
            messages.info(request, error.detail)
            return redirect("webhooks:detail", error.extra["webhook"])
        except InvalidInputError as error:
            form.add_error(error.field, error.detail)
        else:
            return _show(request, added, secret=secret_of(added, 1))
    context = {"webhooks": list(webhooks()), "form": form}
    return render(request, "portal/webhooks.html", context, status=422 if form.errors else 200)


@require_safe
def show_webhook(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one webhook and its last deliveries."""
    return _show(request, _find(request, public_id))


@require_POST
def rotate_secret(request: PersonRequest, public_id: str) -> HttpResponse:
    """Make a new secret and show it, this once: a form of a page that shows an older one makes none."""
    webhook = _find(request, public_id)
    seen = request.POST.get("newest_version", "")
    if not (seen.isascii() and seen.isdigit()):
        raise InvalidInputError("Open the page of the webhook and ask for the new secret there.")
    try:
        webhook = services.rotate_webhook_secret(
            actor=request.user, webhook=webhook, newest_version=int(seen[:9])
        )
    except services.SecretReplacedError as error:
        messages.info(request, error.detail)
        return redirect(_page_of(webhook))
    return _show(request, webhook, secret=secret_of(webhook, max(webhook.live_versions)))


@require_POST
def end_previous_secret(request: PersonRequest, public_id: str) -> HttpResponse:
    """Let only the newest secret sign."""
    said = "Only the newest secret is in use."
    return _act(request, public_id, services.end_previous_webhook_secret, said)


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


@require_http_methods(METHODS)
def change(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show where a webhook goes and what it hears; on POST change that."""
    webhook = _find(request, public_id)
    known = {"url": webhook.url, "description": webhook.description, "actions": " ".join(webhook.actions)}
    form = WebhookForm(request.POST or None, initial=known)
    if request.method == "POST" and form.is_valid():
        try:
            services.change_webhook(actor=request.user, webhook=webhook, **form.cleaned_data)
        except InvalidInputError as error:
            form.add_error(error.field, error.detail)
        else:
            messages.success(request, "The webhook is changed. It counts for what is not sent yet.")
            return redirect("webhooks:detail", public_id)
    page = {
        "title": f"Change the webhook {webhook}",
        "text": "Its secrets stay as they are. A receiver of somebody else should get a new one.",
        "url": reverse("webhooks:change", args=[public_id]),
        "submit_text": "Change the webhook",
        "cancel_url": reverse("webhooks:detail", args=[public_id]),
    }
    return render(
        request, "teams/form.html", {"form": form, "page": page}, status=422 if form.errors else 200
    )


@require_http_methods(METHODS)
def disable(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST switch the webhook off."""
    webhook = _find(request, public_id)
    return _ask(
        request,
        webhook,
        services.disable_webhook,
        title=f"Switch off the webhook {webhook}?",
        text="You can switch it on again at any time.",
        lines=("It is not told what happens meanwhile, not even later.",),
        submit="Switch off",
        said="The webhook is off.",
    )


@require_http_methods(METHODS)
def remove(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name the consequences and ask for a reason; on POST remove the webhook."""
    webhook = _find(request, public_id)
    return _ask(
        request,
        webhook,
        services.remove_webhook,
        title=f"Remove the webhook {webhook}?",
        text="It cannot be brought back; another one gets another secret.",
        lines=("It is told nothing more.", "What it was told stays under Deliveries."),
        submit="Remove the webhook",
        said="The webhook is removed.",
    )


def routes() -> tuple[list[URLPattern], str]:
    """Return the pages of webhooks with their name space."""
    patterns = [
        path("", list_webhooks, name="list"),
        path("<str:public_id>/", show_webhook, name="detail"),
        path("<str:public_id>/rotate/", rotate_secret, name="rotate"),
        path("<str:public_id>/end-previous/", end_previous_secret, name="end_previous"),
        path("<str:public_id>/change/", change, name="change"),
        path("<str:public_id>/remove/", remove, name="remove"),
        path("<str:public_id>/test/", send_test, name="test"),
        path("<str:public_id>/disable/", disable, name="disable"),
        path("<str:public_id>/enable/", enable, name="enable"),
    ]
    return patterns, "webhooks"


def _act(request: PersonRequest, public_id: str, act: Callable[..., Webhook], said: str) -> HttpResponse:
    act(actor=request.user, webhook=_find(request, public_id))
    messages.success(request, said)
    return redirect("webhooks:detail", public_id)


def _ask(
    request: PersonRequest,
    webhook: Webhook,
    act: Callable[..., Webhook],
    *,
    title: str,
    text: str,
    lines: Sequence[str],
    submit: str,
    said: str,
) -> HttpResponse:
    """Ask for a reason before an act, then do it."""
    form, back = ReasonForm(request.POST or None), _page_of(webhook)
    if ended := done(form, lambda entered: act(actor=request.user, webhook=webhook, **entered)):
        messages.success(request, said)
        return redirect("webhooks:list" if ended.removed_at else back)
    return confirm_page(request, form, title=title, text=text, lines=lines, submit=submit, back=back)


def _page_of(webhook: Webhook) -> str:
    return reverse("webhooks:detail", args=[webhook.public_id])


def _show(request: PersonRequest, webhook: Webhook, *, secret: str = "") -> HttpResponse:
    """Show a webhook; a secret stands in this one answer, which nothing keeps: the same form again leads to
    the page without it.
    """
    sent = list(told(webhook).order_by("-pk")[:MOST_SHOWN])
    context = {
        "webhook": webhook,
        "newest_version": max(webhook.live_versions),
        "secret": secret,
        "sent": sent,
    }
    response = render(request, "portal/webhook.html", context)
    response["Cache-Control"] = "no-store"
    response["Content-Location"] = reverse("webhooks:detail", args=[webhook.public_id])
    return response


def _find(request: PersonRequest, public_id: str) -> Webhook:
    require_admin_here(request, "see webhooks")
    webhook = webhooks().filter(public_id=public_id).first()
    if webhook is None:
        raise NotFoundError("There is no such webhook.")
    return webhook
