"""Notifications: what a person wants to be told, how and when."""

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from core.models import Channel, NewsKind, SlackLink
from core.schedule import QuietHours
from portal.services.preferences import Wishes, choose_notifications, wishes_of
from portal.services.slack import end_slack_link, start_slack_link
from teams.types import PersonRequest

NO_ZONES = {"Factory", "localtime"}
HOUR = {"type": "time", "class": "short"}


class NotificationsForm(forms.Form):
    """A channel for each kind of news, the zone, quiet hours and the time of the daily mail."""

    waiting = forms.ChoiceField(label=NewsKind.WAITING.label)
    requests = forms.ChoiceField(label=NewsKind.REQUESTS.label)
    keys = forms.ChoiceField(label=NewsKind.KEYS.label)
    budgets = forms.ChoiceField(label=NewsKind.BUDGETS.label)
    digest_time = forms.TimeField(
        label="Daily mail at", widget=forms.TimeInput(attrs=HOUR, format="%H:%M"), help_text="By your clock."
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

    def clean_time_zone(self) -> str:
        """Refuse a zone that does not exist."""
        name: str = self.cleaned_data["time_zone"]
        if name and name not in available_timezones() - NO_ZONES:
            raise ValidationError("There is no such time zone. Write it as Europe/Berlin.")
        return name

    def clean(self) -> dict[str, Any]:
        """Ask for both ends of the quiet hours, and for two different ones."""
        entered = super().clean() or {}
        starts, ends = entered.get("quiet_starts"), entered.get("quiet_ends")
        if (starts is None) != (ends is None) and not self.errors:
            self.add_error("quiet_ends" if ends is None else "quiet_starts", "Enter both times, or none.")
        elif starts is not None and starts == ends:
            self.add_error("quiet_ends", "Enter another time than the start, or leave both empty.")
        return entered


@require_POST
def link_slack(request: PersonRequest) -> HttpResponse:
    """Show the code that links the person's Slack account, this once."""
    code = start_slack_link(actor=request.user)
    response = render(request, "portal/slack_code.html", {"code": code})
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
    linked = SlackLink.objects.filter(person=request.user, confirmed_at__isnull=False).exists()
    has_slack = bool(settings.SLACK_BOT_TOKEN) and linked
    form = NotificationsForm(
        request.POST or None, has_slack=has_slack, initial=_initial(wishes_of(request.user))
    )
    if request.method == "POST" and form.is_valid():
        choose_notifications(actor=request.user, wishes=_wishes(form.cleaned_data))
        messages.success(request, "Your choice is kept. It counts for everything that is not sent yet.")
        return redirect("notifications")
    context = {"form": form, "slack_offered": bool(settings.SLACK_BOT_TOKEN), "slack_linked": linked}
    return render(request, "portal/notifications.html", context, status=422 if form.errors else 200)


def _initial(wishes: Wishes) -> dict[str, Any]:
    return {
        **{kind.value: channel.value for kind, channel in wishes.channels.items()},
        "time_zone": wishes.time_zone,
        "quiet_starts": wishes.quiet.starts if wishes.quiet else None,
        "quiet_ends": wishes.quiet.ends if wishes.quiet else None,
        "digest_time": wishes.digest_time,
        "slack_decides": wishes.slack_decides,
    }


def _wishes(entered: dict[str, Any]) -> Wishes:
    starts = entered["quiet_starts"]
    return Wishes(
        channels={kind: Channel(entered[kind.value]) for kind in NewsKind},
        time_zone=entered["time_zone"],
        quiet=QuietHours(starts=starts, ends=entered["quiet_ends"]) if starts is not None else None,
        digest_time=entered["digest_time"],
        slack_decides=entered.get("slack_decides", False),
    )
