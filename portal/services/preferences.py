"""Writes what a person wants to be told, how and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any
from zoneinfo import available_timezones

from django.conf import settings
from django.db import transaction

from core import audit
from core.errors import InvalidInputError
from core.models import Channel, NewsChoice, NewsKind, Preference, SlackLink
from core.schedule import QuietHours
from teams.models import User

NO_ZONES = {"Factory", "localtime"}
DEFAULTS = dict.fromkeys(NewsKind, Channel.MAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person wants: a channel for each kind of news, and the times of his day."""

    channels: Mapping[NewsKind, Channel]
    time_zone: str = ""
    quiet: QuietHours | None = None
    digest_time: time = time(8)
    slack_decides: bool = False


def wishes_of(person: User) -> Wishes:
    """Return what a person wants; everything by mail at once when he never said. Two queries."""
    kept = Preference.objects.filter(person=person).prefetch_related("choices").first()
    if kept is None:
        return Wishes(channels=DEFAULTS)
    chosen = {NewsKind(row.kind): Channel(row.channel) for row in kept.choices.all()}
    quiet = None
    if kept.quiet_starts is not None and kept.quiet_ends is not None:
        quiet = QuietHours(starts=kept.quiet_starts, ends=kept.quiet_ends)
    return Wishes(
        channels={**DEFAULTS, **chosen},
        time_zone=kept.time_zone,
        quiet=quiet,
        digest_time=kept.digest_time,
        slack_decides=kept.slack_decides,
    )


def entries_of(wishes: Wishes) -> dict[str, Any]:
    """Return wishes as they are entered, name by name."""
    return {
        **{kind.value: channel.value for kind, channel in wishes.channels.items()},
        "time_zone": wishes.time_zone,
        "quiet_starts": wishes.quiet.starts if wishes.quiet else None,
        "quiet_ends": wishes.quiet.ends if wishes.quiet else None,
        "digest_time": wishes.digest_time,
        "slack_decides": wishes.slack_decides,
    }


def wishes_from(entries: Mapping[str, Any]) -> Wishes:
    """Return what was entered as wishes. Raises InvalidInputError for quiet hours with one end."""
    return Wishes(
        channels={kind: Channel(entries[kind.value]) for kind in NewsKind},
        time_zone=entries["time_zone"],
        quiet=_quiet(entries["quiet_starts"], entries["quiet_ends"]),
        digest_time=entries["digest_time"],
        slack_decides=entries.get("slack_decides", False),
    )


def slack_linked(person: User) -> bool:
    """Whether a Slack account is known to be the person's. One query."""
    return SlackLink.objects.filter(person=person, confirmed_at__isnull=False).exists()


@transaction.atomic
def choose_notifications(*, actor: User, wishes: Wishes) -> Wishes:
    """Keep what the person wants from now on, for messages that were not delivered yet too.

    The same again writes nothing. Raises InvalidInputError for a zone that does not exist, and for Slack
    without an account.
    """
    User.objects.select_for_update(no_key=True).order_by("pk").get(pk=actor.pk)
    wished = wishes_of(actor)
    _require_possible(actor, wishes, wished)
    before, after = _facts(wished), _facts(wishes)
    changed = [name for name in after if after[name] != before[name]]
    if not changed:
        return wishes
    preference, _ = Preference.objects.update_or_create(
        person=actor,
        defaults={
            "time_zone": wishes.time_zone,
            "quiet_starts": wishes.quiet.starts if wishes.quiet else None,
            "quiet_ends": wishes.quiet.ends if wishes.quiet else None,
            "digest_time": wishes.digest_time,
            "slack_decides": wishes.slack_decides,
        },
    )
    for kind, channel in wishes.channels.items():
        NewsChoice.objects.update_or_create(preference=preference, kind=kind, defaults={"channel": channel})
    audit.record(
        actor=actor,
        action="notifications.chosen",
        subject=actor,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
    return wishes


def _quiet(starts: time | None, ends: time | None) -> QuietHours | None:
    if starts is None and ends is None:
        return None
    if starts is None or ends is None:
        missing = "quiet_ends" if ends is None else "quiet_starts"
        raise InvalidInputError("Enter both times, or none.", field=missing)
    if starts == ends:
        raise InvalidInputError("Enter another time than the start, or leave both empty.", field="quiet_ends")
    return QuietHours(starts=starts, ends=ends)


def _require_possible(person: User, wishes: Wishes, before: Wishes) -> None:
    if wishes.time_zone and wishes.time_zone not in available_timezones() - NO_ZONES:
        raise InvalidInputError("There is no such time zone. Write it as Europe/Berlin.", field="time_zone")
    newly = [
        kind.value
        for kind, channel in wishes.channels.items()
        if channel is Channel.SLACK and before.channels[kind] is not Channel.SLACK
    ]
    newly += ["slack_decides"] if wishes.slack_decides and not before.slack_decides else []
    if newly and not (settings.SLACK_BOT_TOKEN and slack_linked(person)):
        raise InvalidInputError("Link your Slack account first, on the page Notifications.", field=newly[0])


def _facts(wishes: Wishes) -> dict[str, Any]:
    return {
        **{kind.value: channel.value for kind, channel in wishes.channels.items()},
        "time_zone": wishes.time_zone,
        "quiet": f"{wishes.quiet.starts:%H:%M} to {wishes.quiet.ends:%H:%M}" if wishes.quiet else "",
        "digest_time": f"{wishes.digest_time:%H:%M}",
        "slack_decides": wishes.slack_decides,
    }
