"""Pricing the past again in the API: figures first, a second person's word, then how far it is booked."""

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import LlmModel
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import NounViewSet, referred
from teams.selectors import require_admin
from usage import services
from usage.models import Repricing
from usage.selectors.periods import moments_of
from usage.serializers_repricing import RepricingCreateIn, RepricingOut, RepricingQuery, RepricingRejectIn


class RepricingViewSet(NounViewSet):
    """Past calls of a model, charged again by the prices dated to them; for administrators."""

    noun = "repricing"
    out = RepricingOut
    list_query = RepricingQuery
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("rpr")

    def get_queryset(self) -> QuerySet[Repricing]:
        """Return all repricings, to administrators."""
        require_admin(self.actor, "price the past again")
        return Repricing.objects.select_related("model", "proposed_by", "decided_by")

    def chosen(self, rows: QuerySet[Repricing]) -> QuerySet[Repricing]:
        """Narrow the list down to a state and a model."""
        return self.narrowed(rows, state="state", model="model__public_id")

    @operation(takes=RepricingCreateIn, gives=RepricingOut, status=201)
    def create(self, request: Request) -> Response:
        """Work out what would be corrected; nothing is booked before another administrator approves."""
        require_admin(self.actor, "price the past again")
        wanted = self.body(RepricingCreateIn)
        models = LlmModel.objects.all()
        starts_at, ends_at = moments_of(wanted["first_day"], wanted["last_day"])
        proposed = services.propose_repricing(
            actor=self.actor,
            model=referred(models, field="model", noun="model", public_id=wanted["model"]),
            starts_at=starts_at,
            ends_at=ends_at,
            reason=wanted["reason"],
        )
        return self.created(self.found(proposed.public_id))

    @operation(takes=NothingIn, gives=RepricingOut, refuses=(404, 412))
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let the corrections be booked in the background: another administrator than who proposed them."""
        self.body(NothingIn)
        services.approve_repricing(actor=self.actor, repricing=self.found(id))
        return self.answer(self.found(id))

    @operation(takes=RepricingRejectIn, gives=RepricingOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Reject a repricing, or take one's own back; nothing changes."""
        reason = self.body(RepricingRejectIn)["reason"]
        services.reject_repricing(actor=self.actor, repricing=self.found(id), reason=reason)
        return self.answer(self.found(id))
