"""What becomes of a message when its time has come: the recipient's wishes decide, and nothing else does."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from zoneinfo import ZoneInfo

from django.conf import settings

from core.models import Channel, NewsKind, Outbox, OutboxKind, Preference, SlackLink
from core.schedule import QuietHours, next_at, quiet_until

# The first prefix that fits a topic says its kind. A topic that none fits is important: it goes out at once,
# whatever was chosen.
KINDS = (
    ("request.waiting", NewsKind.WAITING),
    ("request.reminder", NewsKind.WAITING),
    ("request.escalated", NewsKind.WAITING),
    ("budget_increase.waiting", NewsKind.WAITING),
    ("budget_increase.reminder", NewsKind.WAITING),
    ("request.", NewsKind.REQUESTS),
    ("budget_increase.", NewsKind.REQUESTS),
    ("key.leaked", None),
    ("key.suspended", None),
    ("key.", NewsKind.KEYS),
    ("grant.", NewsKind.KEYS),
    ("budget.", NewsKind.BUDGETS),
    ("spend.", NewsKind.BUDGETS),
)
DIGEST_TOPIC = "digest"


class Fate(Enum):
    """What happens to a message now."""

    SEND = auto()
    WAIT = auto()
    DIGEST = auto()
    DROP = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A fate, the channel of what is sent, and until when something waits."""

    fate: Fate
    channel: OutboxKind = OutboxKind.MAIL
    until: datetime | None = None


def kind_of(topic: str) -> NewsKind | None:
    """Return the kind of news that a topic is, None for what nobody can choose about."""
    return next((kind for prefix, kind in KINDS if topic.startswith(prefix)), None)


def route(message: Outbox, now: datetime) -> Route:
    """Say what becomes of a message that is due. At most three queries; none for what has no reader."""
    if message.kind != OutboxKind.MAIL:
        return Route(fate=Fate.SEND, channel=OutboxKind(message.kind))
    kind = kind_of(message.topic)
    if kind is None and message.topic != DIGEST_TOPIC:
        return Route(fate=Fate.SEND)
    wishes = Preference.objects.filter(person__email=message.recipient).first()
    if wishes is None:
        return Route(fate=Fate.SEND)
    return _by_wishes(message, wishes, kind, now)


def zone_of(wishes: Preference) -> ZoneInfo:
    """Return the zone whose clock the person goes by."""
    return ZoneInfo(wishes.time_zone or settings.TIME_ZONE)


def _by_wishes(message: Outbox, wishes: Preference, kind: NewsKind | None, now: datetime) -> Route:
    chosen = wishes.choices.filter(kind=kind).values_list("channel", flat=True).first() if kind else None
    if chosen == Channel.OFF:
        return Route(fate=Fate.DROP)
    if chosen == Channel.DIGEST:
        return Route(fate=Fate.DIGEST, until=next_at(now, wishes.digest_time, zone_of(wishes)))
    if (ends := _quiet_until(wishes, now)) is not None:
        return Route(fate=Fate.WAIT, until=ends)
    if chosen == Channel.SLACK and _has_slack(wishes):
        return Route(fate=Fate.SEND, channel=OutboxKind.SLACK)
    return Route(fate=Fate.SEND)


def _quiet_until(wishes: Preference, now: datetime) -> datetime | None:
    if wishes.quiet_starts is None or wishes.quiet_ends is None:
        return None
    quiet = QuietHours(starts=wishes.quiet_starts, ends=wishes.quiet_ends)
    return quiet_until(now, quiet, zone_of(wishes))


def _has_slack(wishes: Preference) -> bool:
    """Whether there is a confirmed account to write to; without one, mail is better than silence."""
    return bool(settings.SLACK_BOT_TOKEN) and (
        SlackLink.objects.filter(person=wishes.person_id, confirmed_at__isnull=False).exists()
    )
