"""Webhooks, deliveries and one's own notifications in the API."""

from typing import Any

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.models import Outbox, OutboxKind, Webhook
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import ListViewSet, NounViewSet
from core.webhooks import secret_of
from portal.news.selectors import STATES, deliveries_for, webhooks_for
from portal.news.serializers import (
    DeliveryOut,
    DeliveryQuery,
    NotificationsIn,
    NotificationsOut,
    WebhookChangeIn,
    WebhookCreateIn,
    WebhookOut,
    WebhookReasonIn,
    WebhookRotateIn,
    WebhookWithSecretOut,
)
from portal.services import webhooks as services
from portal.services.deliveries import send_again
from portal.services.preferences import (
    Wishes,
    choose_notifications,
    entries_of,
    slack_linked,
    wishes_from,
    wishes_of,
)


class WebhookViewSet(NounViewSet):
    """Addresses that are told of acts; for administrators."""

    noun = "webhook"
    out = WebhookOut
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("whk")
    withholds = frozenset({"secret"})

    def get_queryset(self) -> QuerySet[Webhook]:
        """Return all webhooks, to administrators."""
        return webhooks_for(self.actor)

    @operation(takes=WebhookCreateIn, gives=WebhookWithSecretOut, status=201)
    def create(self, request: Request) -> Response:
        """Let an address be told of acts, and show the secret that it checks signatures with, this once."""
        wanted = self.body(WebhookCreateIn)
        return self._with_secret(services.add_webhook(actor=self.actor, **wanted), status=201)

    @operation(takes=WebhookChangeIn, gives=WebhookOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def change(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Change where it goes, what it is for or what it hears. Its secrets stay."""
        wanted = self.body(WebhookChangeIn)
        return self.answer(services.change_webhook(actor=self.actor, webhook=self.found(id), **wanted))

    @operation(takes=WebhookRotateIn, gives=WebhookWithSecretOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Make a new secret and show it, this once; it signs beside the newest one before it."""
        seen = self.body(WebhookRotateIn).get("newest_secret")
        webhook = self.found(id)
        return self._with_secret(
            services.rotate_webhook_secret(actor=self.actor, webhook=webhook, newest_version=seen)
        )

    @operation(gives=WebhookOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end_previous(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let only the newest secret sign, as soon as the receiver has it."""
        self.body(NothingIn)
        webhook = self.found(id)
        return self.answer(services.end_previous_webhook_secret(actor=self.actor, webhook=webhook))

    @operation(gives=DeliveryOut, status=202, refuses=(404,))
    @action(detail=True, methods=["post"])
    def test(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Queue an event of type `webhook.test`; what becomes of it is under its delivery."""
        self.body(NothingIn)
        message = services.send_test_event(actor=self.actor, webhook=self.found(id))
        return Response(DeliveryOut(message).data, status=202)

    @operation(takes=WebhookReasonIn, gives=WebhookOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def disable(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Tell it nothing until it is enabled; what happens meanwhile it is not told later."""
        reason = self.body(WebhookReasonIn)["reason"]
        webhook = self.found(id)
        return self.answer(services.disable_webhook(actor=self.actor, webhook=webhook, reason=reason))

    @operation(gives=WebhookOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def enable(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Tell it again, of what is done from now on."""
        self.body(NothingIn)
        return self.answer(services.enable_webhook(actor=self.actor, webhook=self.found(id)))

    @operation(takes=WebhookReasonIn, gives=WebhookOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def remove(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Tell it nothing more, for good. What it was told stays in the deliveries."""
        reason = self.body(WebhookReasonIn)["reason"]
        webhook = self.found(id)
        return self.answer(services.remove_webhook(actor=self.actor, webhook=webhook, reason=reason))

    def _with_secret(self, webhook: Webhook, *, status: int = 200) -> Response:
        secret = secret_of(webhook, max(webhook.live_versions))
        shown = {**WebhookOut(webhook).data, "secret": secret}
        headers = {"Cache-Control": "no-store"}
        if status == 201:
            headers["Location"] = self.request.build_absolute_uri(f"{self.request.path}{webhook.public_id}/")
        return Response(shown, status=status, headers=headers)


class DeliveryViewSet(NounViewSet):
    """Messages by mail, Slack and webhook, without their text; for administrators."""

    noun = "message"
    out = DeliveryOut
    list_query = DeliveryQuery
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("out")

    def get_queryset(self) -> QuerySet[Outbox]:
        """Return all messages, to administrators."""
        return deliveries_for(self.actor)

    def chosen(self, rows: QuerySet[Outbox]) -> QuerySet[Outbox]:
        """Narrow the list down to a state and a webhook."""
        if "webhook" in self.query:
            rows = rows.filter(kind=OutboxKind.WEBHOOK, recipient=self.query["webhook"])
        return rows.filter(STATES[self.query["state"]][1]) if "state" in self.query else rows

    @operation(gives=DeliveryOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def again(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Try a message again that was given up, as often as a new one."""
        self.body(NothingIn)
        send_again(actor=self.actor, message=self.found(id))
        return self.answer(self.found(id))


class NotificationsViewSet(ListViewSet):
    """What one wants to be told oneself, how and when."""

    noun = "choice"
    out = NotificationsOut

    @operation(gives=NotificationsOut, reads=True)
    def read(self, request: Request) -> Response:
        """Return what one chose; everything by mail at once when one never did."""
        return Response(self._shown(wishes_of(self.actor)))

    @operation(takes=NotificationsIn, gives=NotificationsOut)
    def change(self, request: Request) -> Response:
        """Choose something else. It counts for everything that is not sent yet."""
        wanted = {**entries_of(wishes_of(self.actor)), **self.body(NotificationsIn)}
        return Response(self._shown(choose_notifications(actor=self.actor, wishes=wishes_from(wanted))))

    def _shown(self, wishes: Wishes) -> Any:
        return NotificationsOut({**entries_of(wishes), "slack_linked": slack_linked(self.actor)}).data
