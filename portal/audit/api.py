"""The audit in the API: as the page, event by event, as a file, and whether it is as it was sealed."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from core import seal
from core.models import AuditEvent, AuditSeal
from core.rest.fields import id_pattern
from core.rest.renderers import CsvRenderer
from core.rest.schema import operation, problems
from core.rest.serializers import Query
from core.rest.views import NounViewSet
from core.spreadsheets import csv_stream
from portal.audit.lines import CSV_HEAD, exported
from portal.audit.names import names_in
from portal.audit.selectors import Filters, events_visible_to, filtered, reads_all, sealed_until
from portal.audit.serializers import (
    AuditEventOut,
    AuditEventQuery,
    AuditExportQuery,
    AuditVerificationOut,
)
from portal.audit.verification import AuditVerified, last_verified
from teams.models import Team, User
from teams.selectors import RolesHeld, roles_of
from usage.selectors.periods import organisation_today


class AuditEventViewSet(NounViewSet):
    """Who did what, when and why: for auditors and administrators everything, for leads and directors what
    concerns their teams, for everybody what he did and what is his.
    """

    noun = "event"
    out = AuditEventOut
    list_query = AuditEventQuery
    lookup_value_regex = id_pattern("aud")

    def get_queryset(self) -> QuerySet[AuditEvent]:
        """Return the events in scope."""
        return events_visible_to(self.actor, self.roles)

    def chosen(self, rows: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        """Narrow the list down as the page does."""
        return filtered(rows, filters_of(self.query))

    def query_class(self) -> type[Query]:
        """Let a file be narrowed down as the list is."""
        return AuditExportQuery if self.action == "export" else super().query_class()

    def about(self, rows: Sequence[AuditEvent]) -> dict[str, Any]:
        """Return the people, teams and things that the events name, and how far they are sealed."""
        sealed, _ = sealed_until()
        acting = {each for event in rows for each in (event.actor_id, event.on_behalf_of_id) if each}
        teams = {team.pk: team for team in Team.objects.visible_to(self.actor)}
        called, in_full = {pk: team.name for pk, team in teams.items()}, reads_all(self.roles)
        return {
            "people": User.objects.in_bulk(acting),
            "teams": teams,
            "names": names_in(rows, teams=called, in_full=in_full),
            "sealed_until": sealed,
            "in_full": in_full,
        }

    @extend_schema(
        parameters=[AuditExportQuery],
        responses={(200, "text/csv"): OpenApiTypes.STR, **problems({400, 401, 403, 406})},
    )
    @action(detail=False, renderer_classes=(JSONRenderer, CsvRenderer))
    def export(self, request: Request) -> StreamingHttpResponse:
        """Return every event that the list would show as CSV, the newest first, sent while they are read."""
        teams = {team.pk: team.name for team in Team.objects.visible_to(self.actor)}
        rows = exported(self.chosen(self.get_queryset()), teams=teams, in_full=reads_all(self.roles))
        return csv_stream(request._request, f"audit-{organisation_today()}", CSV_HEAD, rows)  # noqa: SLF001  Django's own request

    @operation(gives=AuditVerificationOut, reads=True)
    @action(detail=False)
    def verification(self, request: Request) -> Response:
        """Say whether the audit is as it was sealed, and up to where it is."""
        verified = last_verified()
        state = {
            "state": _state(verified),
            "verified_at": verified and verified.at,
            "broken": verified and verified.broken,
            "last_seal": AuditSeal.objects.order_by("number").last(),
            "oldest_unsealed_at": seal.oldest_unsealed(),
        }
        return Response(AuditVerificationOut(state).data)

    @cached_property
    def roles(self) -> RolesHeld:
        """Return what the person is. One query."""
        return roles_of(self.actor)


def filters_of(query: Mapping[str, Any]) -> Filters:
    """Return what the parameters ask for."""
    return Filters(
        actor=query.get("actor", ""),
        action=query.get("action", ""),
        subject=query.get("object", ""),
        team=query.get("team", ""),
        since=query.get("from"),
        until=query.get("to"),
    )


def _state(verified: AuditVerified | None) -> str:
    if verified is None:
        return "unknown"
    if verified.broken:
        return "broken"
    return "stale" if verified.is_stale else "intact"
