"""How webhooks, deliveries and one's own notifications look in the API."""

from typing import Any

from rest_framework import serializers

from core.models import Channel, Outbox, OutboxKind, Webhook
from core.rest.fields import Flag, Moment, PublicId, Text, TimeOfDay, WholeNumber
from core.rest.serializers import ChangeIn, In, Out, PageQuery
from portal.news.selectors import GIVEN_UP, WAITING, MessageState, state_of
from portal.services.webhooks import MAX_DESCRIPTION, MAX_TEXT, MAX_URL, MOST_ACTIONS

MAX_ACTION = 64
MAX_ZONE = 64
MAX_SECRETS = 999_999_999


class WebhookOut(Out):
    """An address that is told of acts; its secret is in the answer that made it, and in no other."""

    id = serializers.CharField(source="public_id")
    url = serializers.CharField()
    description = serializers.CharField()
    actions = serializers.ListField(child=serializers.CharField(), help_text="Empty is everything.")
    live_secrets = serializers.SerializerMethodField()
    newest_secret = serializers.SerializerMethodField()
    failures = serializers.IntegerField(help_text="Attempts that failed since the last delivery.")
    created_at = Moment()
    disabled_at = Moment(allow_null=True)
    disabled_reason = serializers.CharField()
    removed_at = Moment(allow_null=True)

    def get_live_secrets(self, webhook: Webhook) -> int:
        """Return how many secrets sign: the newest one, and the one before it until that is ended."""
        return len(webhook.live_versions)

    def get_newest_secret(self, webhook: Webhook) -> int:
        """Return the number of the newest secret, from 1."""
        return max(webhook.live_versions)


class WebhookWithSecretOut(WebhookOut):
    """A webhook with its newest secret, this once."""

    secret = serializers.CharField(allow_null=True, help_text="Null where the call was repeated.")


class WebhookActionsField(serializers.ListField):
    """Which acts: each is named in full, or by how it begins."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=Text(max_length=MAX_ACTION), max_length=MOST_ACTIONS, **kwargs)


class WebhookCreateIn(In):
    """Where to, what for, and of what."""

    url = Text(max_length=MAX_URL, help_text="It begins with https:// and is on the public internet.")
    description = Text(max_length=MAX_DESCRIPTION)
    actions = WebhookActionsField(
        required=False,
        default=list,
        help_text="`key.revoked`, or how they begin: `key.`. Empty is everything.",
    )


class WebhookChangeIn(ChangeIn):
    """What changes; what is left out stays."""

    url = Text(required=False, max_length=MAX_URL)
    description = Text(required=False, max_length=MAX_DESCRIPTION)
    actions = WebhookActionsField(required=False)


class WebhookRotateIn(In):
    """Which secret is replaced."""

    newest_secret = WholeNumber(
        required=False,
        min_value=1,
        max_value=MAX_SECRETS,
        help_text="The `newest_secret` that you know: when there is a newer one, none is made (409).",
    )


class WebhookReasonIn(In):
    """Why."""

    reason = Text(max_length=MAX_TEXT)


class DeliveryAttemptOut(Out):
    """One attempt to deliver a message."""

    at = Moment()
    channel = serializers.ChoiceField(OutboxKind.choices)
    delivered = serializers.BooleanField()
    detail = serializers.CharField()


class DeliveryOut(Out):
    """A message without its text: what became of it, and every attempt."""

    id = serializers.CharField(source="public_id")
    channel = serializers.ChoiceField(OutboxKind.choices, source="kind")
    topic = serializers.CharField()
    recipient = serializers.CharField(help_text="An address, or the id of a webhook.")
    state = serializers.SerializerMethodField()
    attempts = serializers.IntegerField(help_text="Since it was last sent again.")
    last_error = serializers.CharField()
    created_at = Moment()
    next_attempt_at = Moment()
    delivered_at = Moment(allow_null=True)
    log = DeliveryAttemptOut(many=True)

    def get_state(self, message: Outbox) -> MessageState:
        """Return what became of it."""
        return state_of(message)


class DeliveryQuery(PageQuery):
    """Which messages."""

    state = serializers.ChoiceField((GIVEN_UP, WAITING), required=False)
    webhook = PublicId("whk", required=False, help_text="Those of one webhook.")


class NotificationsOut(Out):
    """A channel for each kind of news, and the times of one's day. All else always comes at once."""

    waiting = serializers.ChoiceField(Channel.choices)
    requests = serializers.ChoiceField(Channel.choices)
    keys = serializers.ChoiceField(Channel.choices)
    budgets = serializers.ChoiceField(Channel.choices)
    digest_time = TimeOfDay()
    quiet_starts = TimeOfDay(allow_null=True)
    quiet_ends = TimeOfDay(allow_null=True)
    time_zone = serializers.CharField(help_text="Empty is the zone of the organisation.")
    slack_decides = serializers.BooleanField()
    slack_linked = serializers.BooleanField()


class NotificationsIn(ChangeIn):
    """What changes; what is left out stays. Both quiet times are null for none."""

    waiting = serializers.ChoiceField(Channel.choices, required=False)
    requests = serializers.ChoiceField(Channel.choices, required=False)
    keys = serializers.ChoiceField(Channel.choices, required=False)
    budgets = serializers.ChoiceField(Channel.choices, required=False)
    digest_time = TimeOfDay(required=False)
    quiet_starts = TimeOfDay(required=False, allow_null=True)
    quiet_ends = TimeOfDay(required=False, allow_null=True)
    time_zone = Text(required=False, max_length=MAX_ZONE)
    slack_decides = Flag(required=False)
