"""Notifications: what a person wants to be told, how and when."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from core.errors import InvalidInputError
from core.models import Channel, NewsKind
from portal.services.preferences import (
    choose_notifications,
    entries_of,
    slack_linked,
    wishes_from,
    wishes_of,
)
from portal.services.slack import end_slack_link, start_slack_link
from teams.sign_in import shows_second_factor
from teams.types import PersonRequest

HOUR = {"type": "time", "class": "short"}


class NotificationsForm(forms.Form):
    """A channel for each kind of news, the zone, quiet hours and the time of the daily mail."""

    waiting = forms.ChoiceField(label=NewsKind.WAITING.label)
    requests = forms.ChoiceField(label=NewsKind.REQUESTS.label)
    keys = forms.ChoiceField(label=NewsKind.KEYS.label)
    budgets = forms.ChoiceField(label=NewsKind.BUDGETS.label)
    digest_time = forms.TimeField(
        label="Daily mail at",
        widget=forms.TimeInput(attrs=HOUR, format="%H:%M"),
        help_text="By your clock.",
        error_messages={"required": "Enter when the daily mail is sent, such as 08:00"},
    )
    quiet_starts = forms.TimeField(
        label="Quiet from",
        required=False,
        widget=forms.TimeInput(attrs=HOUR, format="%H:%M"),
        help_text="Messages wait until the quiet hours end. Leave both empty for none.",
    )
    quiet_ends = forms.TimeField(
        label="Quiet until", required=False, widget=forms.TimeInput(attrs=HOUR, format="%H:%M")
    )
    time_zone = forms.CharField(
        label="Your time zone",
        required=False,
        max_length=64,
        help_text="Such as Europe/Berlin. Empty is the zone of the organisation.",
        widget=forms.TextInput(attrs={"class": "short", "autocomplete": "off", "spellcheck": "false"}),
    )
    slack_decides = forms.BooleanField(
        label="Let me approve in Slack",
        required=False,
        help_text="Tier 2 requests only. Everything else is decided on its page, and so is a denial.",
    )

    def __init__(self, *arguments: Any, has_slack: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        channels = [choice for choice in Channel.choices if has_slack or choice[0] != Channel.SLACK]
        for kind in NewsKind:
            field = self.fields[kind.value]
            assert isinstance(field, forms.ChoiceField)
            field.choices = channels
        if not has_slack:
            del self.fields["slack_decides"]


@require_POST
def link_slack(request: PersonRequest) -> HttpResponse:
    """Show the code that links the person's Slack account: for ten minutes the same one."""
    code = start_slack_link(actor=request.user, with_second_factor=shows_second_factor(request, request.user))
    ends_at = request.user.slack_link.code_expires_at
    response = render(request, "portal/slack_code.html", {"code": code, "ends_at": ends_at})
    response["Cache-Control"] = "no-store"
    return response


@require_POST
def unlink_slack(request: PersonRequest) -> HttpResponse:
    """Forget the person's Slack account."""
    end_slack_link(actor=request.user)
    messages.success(request, "Your Slack account is not linked any more.")
    return redirect("notifications")


@require_http_methods(["GET", "HEAD", "POST"])
def notifications(request: PersonRequest) -> HttpResponse:
    """Show what the person chose; on POST keep what he chooses now."""
    linked = slack_linked(request.user)
    has_slack = bool(settings.SLACK_BOT_TOKEN) and linked
    initial = entries_of(wishes_of(request.user))
    form = NotificationsForm(request.POST or None, has_slack=has_slack, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            choose_notifications(actor=request.user, wishes=wishes_from(form.cleaned_data))
        except InvalidInputError as error:
            form.add_error(error.field, error.detail)
        else:
            messages.success(request, "Your choice is kept. It counts for everything that is not sent yet.")
            return redirect("notifications")
    context = {"form": form, "slack_offered": bool(settings.SLACK_BOT_TOKEN), "slack_linked": linked}
    return render(request, "portal/notifications.html", context, status=422 if form.errors else 200)
