"""Keys and grants in the API: make, reveal, rotate, rename, revoke; take grants back; report leaks."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from catalog.models import LlmModel
from catalog.selectors import model_names
from core.errors import InvalidInputError
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.throttling import LeakReports
from core.rest.views import NounViewSet, referred
from keys import selectors, services
from keys.models import ApiKey, Grant
from keys.scopes import scope_of
from keys.serializers import (
    ApiKeyCreateIn,
    ApiKeyOut,
    ApiKeyQuery,
    ApiKeyRenameIn,
    ApiKeyResumeIn,
    ApiKeyRevokeIn,
    ApiKeyRotateIn,
    ApiKeySuspendIn,
    GrantOut,
    GrantRevokeIn,
    GrantShrinkIn,
    LeakReportIn,
    LeakReportOut,
    OfKeyQuery,
    RevealedOut,
)
from teams.models import Project


class ApiKeyViewSet(NounViewSet):
    """The person's own keys and those of the teams he oversees."""

    noun = "key"
    out = ApiKeyOut
    list_query = ApiKeyQuery
    lookup_value_regex = id_pattern("key")
    shows_once = frozenset({"reveal"})

    def get_queryset(self) -> QuerySet[ApiKey]:
        """Return the keys in scope."""
        return selectors.listed(self.actor)

    def chosen(self, rows: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """Narrow the list down to a project and an owner."""
        return self.narrowed(rows, project="project__public_id", owner="owner__public_id")

    @operation(takes=ApiKeyCreateIn, gives=ApiKeyOut, status=201, refuses=(422,))
    def create(self, request: Request) -> Response:
        """Make a Tier 1 key for oneself, awaiting its reveal."""
        wanted = self.body(ApiKeyCreateIn)
        project = referred(
            Project.objects.visible_to(self.actor).select_related("team__department"),
            field="project",
            noun="project",
            public_id=wanted.pop("project"),
        )
        return self.created(services.issue_key(actor=self.actor, project=project, **wanted))

    @operation(gives=RevealedOut, refuses=(404, 409, 410))
    @action(detail=True, methods=["post"])
    def reveal(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Make the secret of a key and show it, in this answer and never again. Only its owner may."""
        self.body(NothingIn)
        revealed = services.reveal(actor=self.actor, key=self.found(id))
        return Response(RevealedOut(revealed).data, headers={"Cache-Control": "no-store"})

    @operation(takes=ApiKeyRotateIn, gives=ApiKeyOut, refuses=(404, 409, 410, 422))
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let the owner reveal another secret; the present one then goes on for the overlap (24 hours)."""
        wanted = self.body(ApiKeyRotateIn)
        services.rotate(actor=self.actor, key=self.found(id), **wanted)
        return self.answer(self.found(id))

    @operation(gives=ApiKeyOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end_previous(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End the secret before the present one now, as soon as nothing uses it any more."""
        self.body(NothingIn)
        services.end_previous_secret(actor=self.actor, key=self.found(id))
        return self.answer(self.found(id))

    @operation(takes=ApiKeyRenameIn, gives=ApiKeyOut, refuses=(404, 410, 422))
    @action(detail=True, methods=["post"])
    def rename(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Give a key another name."""
        wanted = self.body(ApiKeyRenameIn)
        services.rename_key(actor=self.actor, key=self.found(id), name=wanted["name"])
        return self.answer(self.found(id))

    @operation(takes=ApiKeyRevokeIn, gives=ApiKeyOut, refuses=(404, 409, 422))
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a key for good; in force when this is answered."""
        wanted = self.body(ApiKeyRevokeIn)
        services.revoke(actor=self.actor, key=self.found(id), reason=wanted["reason"])
        return self.answer(self.found(id))

    @operation(takes=ApiKeySuspendIn, gives=ApiKeyOut, refuses=(404, 409, 410, 422))
    @action(detail=True, methods=["post"])
    def suspend(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Refuse calls with a key until somebody resumes it; in force when this is answered."""
        wanted = self.body(ApiKeySuspendIn)
        services.suspend(actor=self.actor, key=self.found(id), reason=wanted["reason"])
        return self.answer(self.found(id))

    @operation(takes=ApiKeyResumeIn, gives=ApiKeyOut, refuses=(404, 409, 410, 422))
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let a suspended key go on. The lead, the director and administrators may; its owner may not."""
        wanted = self.body(ApiKeyResumeIn)
        services.resume(actor=self.actor, key=self.found(id), **wanted)
        return self.answer(self.found(id))


class GrantViewSet(NounViewSet):
    """What approvals gave to the keys in scope, ended grants included."""

    noun = "grant"
    out = GrantOut
    list_query = OfKeyQuery
    lookup_value_regex = id_pattern("grn")

    def get_queryset(self) -> QuerySet[Grant]:
        """Return the grants in scope."""
        return selectors.listed_grants(self.actor)

    def chosen(self, rows: QuerySet[Grant]) -> QuerySet[Grant]:
        """Narrow the list down to a key."""
        return self.narrowed(rows, key="key__public_id")

    @operation(takes=GrantShrinkIn, gives=GrantOut, refuses=(404, 410, 422))
    @action(detail=True, methods=["post"])
    def shrink(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let a grant end sooner, for fewer models or with a lower cap; in force when this is answered."""
        wanted = self.body(GrantShrinkIn)
        names = wanted.pop("models", None)
        model_ids = None if names is None else _model_ids(names)
        services.shrink_grant(actor=self.actor, grant=self.found(id), model_ids=model_ids, **wanted)
        return self.answer(self.found(id))

    @operation(takes=GrantRevokeIn, gives=GrantOut, refuses=(404, 409, 422))
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a grant; the key keeps Tier 1 and its other grants. In force when this is answered."""
        wanted = self.body(GrantRevokeIn)
        services.revoke_grant(actor=self.actor, grant=self.found(id), reason=wanted["reason"])
        return self.answer(self.found(id))

    def about(self, rows: Sequence[Grant]) -> dict[str, Any]:
        """Return the names of the models that the grants are for."""
        return {"model_names": model_names({model for grant in rows for model in grant.model_ids})}


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # carries no types
    """How the OpenAPI document describes the token."""

    target_class = "keys.authentication.Bearer"
    name = "token"

    def get_security_requirement(self, auto_schema: AutoSchema) -> dict[str, list[Any]] | None:  # type: ignore[override]  # None is "not this one"
        """Ask for a token where one is good for the operation."""
        view: Any = auto_schema.view
        scope = scope_of(view.basename, view.action, auto_schema.method)
        return None if scope is None else {self.name: []}

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        """Describe the header."""
        return {"type": "http", "scheme": "bearer", "description": "An API token, such as `psr_api_...`."}


class LeakViewSet(GenericViewSet[Any]):
    """Reports of leaked secrets, from anybody: whoever knows a secret may end it."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (LeakReports,)
    http_method_names = ["post"]

    @operation(takes=LeakReportIn, gives=LeakReportOut, status=202, refuses=(429,))
    def create(self, request: Request) -> Response:
        """End keys and API tokens whose secrets were seen where they must not be, and tell their owners.

        The answer is the same for live, ended and unknown secrets.
        """
        checked = LeakReportIn(data=request.data)
        checked.is_valid(raise_exception=True)
        found = dict.fromkeys(checked.validated_data["secrets"])
        for secret in found:
            services.report_leak(secret=secret, place=checked.validated_data["place"])
        return Response(LeakReportOut({"received": len(found)}).data, status=202)


def _model_ids(names: Sequence[str]) -> list[int]:
    """Return the ids of models. Raises InvalidInputError naming those that do not exist."""
    known = dict(LlmModel.objects.filter(name__in=names).values_list("name", "pk"))
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise InvalidInputError(f"There is no model {', '.join(unknown)}.", field="models")
    return sorted(known.values())
