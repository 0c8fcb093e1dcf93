"""Gateways in the API, for administrators."""

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import NounViewSet
from gateway import services
from gateway.models import Gateway
from gateway.selectors import gateways_for
from portal.gateways.serializers import GatewayOut, GatewayReasonIn


class GatewayViewSet(NounViewSet):
    """Gateways that ask for decisions; for administrators."""

    noun = "gateway"
    out = GatewayOut
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("gw")

    def get_queryset(self) -> QuerySet[Gateway]:
        """Return all gateways, to administrators."""
        return gateways_for(self.actor)

    @operation(takes=GatewayReasonIn, gives=GatewayOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def disable(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Refuse its calls within a second, recall its leases, and read nothing of it until it is enabled."""
        reason = self.body(GatewayReasonIn)["reason"]
        gateway = self.found(id)
        return self.answer(services.disable_gateway(actor=self.actor, gateway=gateway, reason=reason))

    @operation(takes=GatewayReasonIn, gives=GatewayOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def enable(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let it ask for decisions again, and read what it tells from where the reading stopped."""
        reason = self.body(GatewayReasonIn)["reason"]
        gateway = self.found(id)
        return self.answer(services.enable_gateway(actor=self.actor, gateway=gateway, reason=reason))
