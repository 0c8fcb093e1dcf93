"""Writes what a person wants to be told, how and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

from django.db import transaction

from core import audit
from core.models import Channel, NewsChoice, NewsKind, Preference
from core.schedule import QuietHours
from teams.models import User

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


@transaction.atomic
def choose_notifications(*, actor: User, wishes: Wishes) -> Wishes:
    """Keep what the person wants from now on, for messages that were not delivered yet too.

    The same again writes nothing.
    """
    User.objects.select_for_update(no_key=True).order_by("pk").get(pk=actor.pk)
    before, after = _facts(wishes_of(actor)), _facts(wishes)
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


def _facts(wishes: Wishes) -> dict[str, Any]:
    return {
        **{kind.value: channel.value for kind, channel in wishes.channels.items()},
        "time_zone": wishes.time_zone,
        "quiet": f"{wishes.quiet.starts:%H:%M} to {wishes.quiet.ends:%H:%M}" if wishes.quiet else "",
        "digest_time": f"{wishes.digest_time:%H:%M}",
        "slack_decides": wishes.slack_decides,
    }
