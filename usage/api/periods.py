"""Months of the books in the API: closed softly, then for good, and opened again."""

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import InvalidInputError
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import NounViewSet
from usage import services
from usage.models import PeriodClose
from usage.selectors.closing import months, periods_for
from usage.serializers import PeriodOut
from usage.serializers_books import PeriodReopenIn, PeriodSoftCloseIn
from usage.services.reconciliation.resolving import require_keeper


class PeriodViewSet(NounViewSet):
    """Months of the books that were ever closed; for finance, auditors and administrators."""

    noun = "period"
    out = PeriodOut
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("prd")

    def get_queryset(self) -> QuerySet[PeriodClose]:
        """Return all months, to those who may see them."""
        return periods_for(self.actor)

    @operation(takes=PeriodSoftCloseIn, gives=PeriodOut)
    def create(self, request: Request) -> Response:
        """Close a month softly: its statements are provisional. Finance and administrators may."""
        require_keeper(self.actor, "close months")
        name = self.body(PeriodSoftCloseIn)["month"]
        month = next((each.first_day for each in months() if each.name == name), None)
        if month is None:
            raise InvalidInputError("This month is still to come, or too long ago.", field="month")
        period = services.soft_close_period(actor=self.actor, month=month)
        return self.answer(self.found(period.public_id))

    @operation(gives=PeriodOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def close(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Close a softly closed month for good, once all its checks hold. Finance and administrators may."""
        self.body(NothingIn)
        services.close_period(actor=self.actor, month=self.found(id).month)
        return self.answer(self.found(id))

    @operation(takes=PeriodReopenIn, gives=PeriodOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Open a closed month again: another person of finance, or administrator, than who closed it."""
        reason = self.body(PeriodReopenIn)["reason"]
        services.reopen_period(actor=self.actor, month=self.found(id).month, reason=reason)
        return self.answer(self.found(id))
