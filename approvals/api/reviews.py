"""The access review in the API: what hardly anybody uses, to keep or to end."""

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals import services
from approvals.reviews import reviewable, unused_rows
from approvals.serializers.reviews import GrantReviewIn, GrantReviewOut, UnusedGrantOut
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import ListViewSet
from keys.models import Grant


class AccessReviewViewSet(ListViewSet):
    """The access of others, in the teams that the person oversees, that hardly anybody uses."""

    noun = "access to review"
    out = UnusedGrantOut
    lookup_value_regex = id_pattern("grn")

    def get_queryset(self) -> QuerySet[Grant]:
        """Return the grants that are listed; any that the person may review can be decided."""
        return unused_rows(self.actor) if self.action == "list" else reviewable(self.actor)

    @operation(takes=GrantReviewIn, gives=GrantReviewOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def keep(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Keep it; it is asked about again in 30 days."""
        return self._decided(id, keeps=True)

    @operation(takes=GrantReviewIn, gives=GrantReviewOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End it now. The key stays, with all else that it may call."""
        return self._decided(id, keeps=False)

    def _decided(self, public_id: str, *, keeps: bool) -> Response:
        wanted = self.body(GrantReviewIn)
        review = services.review_grant(
            actor=self.actor, grant=self.found(public_id), keeps=keeps, reason=wanted["reason"]
        )
        return Response(GrantReviewOut(review).data)
