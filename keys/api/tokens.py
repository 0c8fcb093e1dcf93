"""API tokens and service accounts in the API: made and revealed by people, revoked, handed over."""

from typing import Any

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import NounViewSet, referred
from keys import selectors, services
from keys.models import ApiToken, ServiceAccount
from keys.serializers_tokens import (
    ApiTokenCreateIn,
    ApiTokenOut,
    ApiTokenRevokeIn,
    RevealedTokenOut,
    ServiceAccountCreateIn,
    ServiceAccountHandOverIn,
    ServiceAccountOut,
)
from teams.models import User
from teams.selectors import require_admin


class ApiTokenViewSet(NounViewSet):
    """The person's own API tokens and those of services that he answers for; no role shows more."""

    noun = "token"
    out = ApiTokenOut
    lookup_value_regex = id_pattern("tok")
    shows_once = frozenset({"reveal"})

    def get_queryset(self) -> QuerySet[ApiToken]:
        """Return the tokens in scope, ended ones too."""
        return ApiToken.objects.visible_to(self.actor).select_related("owner", "revoked_by")

    @operation(takes=ApiTokenCreateIn, gives=ApiTokenOut, status=201)
    def create(self, request: Request) -> Response:
        """Make a token for oneself or for a service that one answers for, awaiting its reveal."""
        wanted = self.body(ApiTokenCreateIn)
        owner = wanted.pop("owner", None)
        if owner is not None:
            handled = selectors.token_owners(self.actor)
            owner = referred(handled, field="owner", noun="service", public_id=owner)
        return self.created(services.make_token(actor=self.actor, owner=owner, **wanted))

    @operation(gives=RevealedTokenOut, refuses=(404, 410))
    @action(detail=True, methods=["post"])
    def reveal(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Make the secret of a token and show it, in this answer and never again."""
        self.body(NothingIn)
        revealed = services.reveal_token(actor=self.actor, token=self.found(id))
        return Response(RevealedTokenOut(revealed).data, headers={"Cache-Control": "no-store"})

    @operation(takes=ApiTokenRevokeIn, gives=ApiTokenOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a token for good; in force when this is answered."""
        reason = self.body(ApiTokenRevokeIn)["reason"]
        services.revoke_token(actor=self.actor, token=self.found(id), reason=reason)
        return self.answer(self.found(id))


class ServiceAccountViewSet(NounViewSet):
    """Programs with roles of their own that the person answers for; administrators and auditors see all."""

    noun = "service"
    out = ServiceAccountOut
    lookup_value_regex = id_pattern("usr")

    def get_queryset(self) -> QuerySet[ServiceAccount]:
        """Return the services in scope."""
        return selectors.services_seen_by(self.actor)

    def by_id(self, rows: QuerySet[Any], public_id: str) -> QuerySet[Any]:
        """Narrow services down to the one whose user has this id."""
        return rows.filter(user__public_id=public_id)

    def id_of(self, row: ServiceAccount) -> str:
        """Return the id of a service, which is that of its user."""
        return str(row.user.public_id)

    @operation(takes=ServiceAccountCreateIn, gives=ServiceAccountOut, status=201)
    def create(self, request: Request) -> Response:
        """Open an account for a program, which cannot sign in. Only administrators may."""
        require_admin(self.actor, "open a service account")
        wanted = self.body(ServiceAccountCreateIn)
        responsible = _person(wanted["responsible"])
        made = services.open_service_account(actor=self.actor, name=wanted["name"], responsible=responsible)
        return self.created(self.found(made.user.public_id))

    @operation(takes=ServiceAccountHandOverIn, gives=ServiceAccountOut, refuses=(404,))
    @action(detail=True, methods=["post"], url_path="hand-over")
    def hand_over(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let another person answer for a service; its tokens end. Who answers for it, and administrators."""
        wanted, account = self.body(ServiceAccountHandOverIn), self.found(id)
        responsible = _person(wanted["responsible"])
        handed = services.hand_over_service(actor=self.actor, account=account, responsible=responsible)
        return self.answer(selectors.with_live_tokens(ServiceAccount.objects.filter(pk=handed.pk))[0])


def _person(address: str) -> User:
    """Return whoever signs in with an address. Raises InvalidInputError."""
    return referred(User.objects.all(), field="responsible", noun="person", email=address.strip().lower())
