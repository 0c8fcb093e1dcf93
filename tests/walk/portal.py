"""The acts on webhooks, notifications and deliveries, and what a leaver takes with him from every app."""

from __future__ import annotations

from typing import Any

from core import clock
from core.models import Channel, NewsKind, Outbox, SlackLink, Webhook
from portal.leaving import LEAVING
from portal.services import slack, webhooks
from portal.services.deliveries import put_aside, send_again
from portal.services.preferences import Wishes, choose_notifications
from teams.services import deactivate_person
from tests.approvals.conftest import ask_for, lend
from tests.cast import Cast
from tests.core.test_wishes import put
from tests.factories import WebhookFactory
from tests.walk import WHY, Walk
from tests.walk.keys import own_key


def chosen(cast: Cast) -> Any:
    wishes = Wishes(channels=dict.fromkeys(NewsKind, Channel.DIGEST))
    return choose_notifications(actor=cast.ada, wishes=wishes)


def resent(cast: Cast) -> Any:
    message = put(cast.ada)
    Outbox.objects.update(dead_at=clock.now())
    return send_again(actor=cast.ann, message=message)


def laid_aside(cast: Cast) -> Any:
    message = put(cast.ada)
    Outbox.objects.update(dead_at=clock.now())
    return put_aside(actor=cast.ann, message=message)


def disabled(cast: Cast) -> Webhook:
    return webhooks.disable_webhook(actor=cast.ann, webhook=WebhookFactory.create(), reason=WHY)


def rotated(cast: Cast) -> Webhook:
    return webhooks.rotate_webhook_secret(actor=cast.ann, webhook=WebhookFactory.create())


def linked(cast: Cast) -> SlackLink:
    code = slack.start_slack_link(actor=cast.ben)
    return slack.confirm_slack_link(code=code, slack_user="U1")


def unlinked(cast: Cast) -> None:
    linked(cast)
    slack.end_slack_link(actor=cast.ben)


def leave(cast: Cast) -> None:
    """Let Ada leave, who has a key, a request and a delegation."""
    own_key(cast)
    ask_for(cast)
    lend(cast, "ben", "ada")
    deactivate_person(actor=cast.ann, user=cast.ada, reason=WHY, endings=LEAVING.endings)


WALK: Walk = {
    "teams.deactivate_person: the leaver rule": (
        leave,
        ["request.closed", "delegation.ended", "key.revoked", "person.deactivated"],
    ),
    "portal.start_slack_link": (
        lambda cast: slack.start_slack_link(actor=cast.ben),
        ["slack.link_started"],
    ),
    "portal.confirm_slack_link": (linked, ["slack.linked"]),
    "portal.end_slack_link": (unlinked, ["slack.unlinked"]),
    "portal.add_webhook": (
        lambda cast: webhooks.add_webhook(
            actor=cast.ann, url="https://8.8.8.8/", description="A test", actions=["x."]
        ),
        ["webhook.added"],
    ),
    "portal.rotate_webhook_secret": (
        rotated,
        ["webhook.secret_rotated"],
    ),
    "portal.end_previous_webhook_secret": (
        lambda cast: webhooks.end_previous_webhook_secret(actor=cast.ann, webhook=rotated(cast)),
        ["webhook.previous_secret_ended"],
    ),
    "portal.change_webhook": (
        lambda cast: webhooks.change_webhook(
            actor=cast.ann, webhook=WebhookFactory.create(), url="https://8.8.4.4/", actions=["key."]
        ),
        ["webhook.changed"],
    ),
    "portal.remove_webhook": (
        lambda cast: webhooks.remove_webhook(actor=cast.ann, webhook=WebhookFactory.create(), reason=WHY),
        ["webhook.removed"],
    ),
    "portal.send_test_event": (
        lambda cast: webhooks.send_test_event(actor=cast.ann, webhook=WebhookFactory.create()),
        ["webhook.tested"],
    ),
    "portal.disable_webhook": (disabled, ["webhook.disabled"]),
    "portal.enable_webhook": (
        lambda cast: webhooks.enable_webhook(actor=cast.ann, webhook=disabled(cast)),
        ["webhook.enabled"],
    ),
    "portal.choose_notifications": (chosen, ["notifications.chosen"]),
    "portal.send_again": (resent, ["message.sent_again"]),
    "portal.put_aside": (laid_aside, ["message.put_aside"]),
}
