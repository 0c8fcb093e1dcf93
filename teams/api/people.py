"""People and their roles in the API: they come, are renamed, are given roles, leave and come back."""

from typing import Any, ClassVar, TypeVar

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import NounViewSet, referred
from teams import selectors, services
from teams.models import Department, Role, RoleAssignment, Team, User
from teams.ports import Leaving
from teams.serializers import (
    LeavingOut,
    PersonCreateIn,
    PersonOut,
    PersonQuery,
    PersonRenameIn,
    PersonWhyIn,
    RoleCreateIn,
    RoleEndIn,
    RoleOut,
    RoleQuery,
)

_Place = TypeVar("_Place", Team, Department)


class PersonViewSet(NounViewSet):
    """People who work in or lead the teams that the person may see, and the person himself.

    Those with a role for the whole organisation see everybody, those who have left too.
    """

    noun = "person"
    lookup_value_regex = id_pattern("usr")
    out = PersonOut
    list_query = PersonQuery
    leaving: ClassVar[Leaving]

    def get_queryset(self) -> QuerySet[User]:
        """Return the people in scope."""
        return selectors.people_visible_to(self.actor)

    def chosen(self, rows: QuerySet[User]) -> QuerySet[User]:
        """Narrow the list down to those who work in a team."""
        if "team" not in self.query:
            return rows
        team = Team.objects.visible_to(self.actor).filter(public_id=self.query["team"])
        return rows.filter(selectors.working_in(team))

    @operation(takes=PersonCreateIn, gives=PersonOut, status=201)
    def create(self, request: Request) -> Response:
        """Let somebody new sign in, with no role and in no team yet. Only administrators may."""
        wanted = self.body(PersonCreateIn)
        return self.created(services.create_person(actor=self.actor, **wanted))

    @operation(takes=PersonRenameIn, gives=PersonOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def rename(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Give a person another name; records keep the name of their time. Only administrators may."""
        wanted = self.body(PersonRenameIn)
        services.rename_person(actor=self.actor, user=self.found(id), **wanted)
        return self.answer(self.found(id))

    @operation(gives=LeavingOut, reads=True, refuses=(403, 404, 409))
    @action(detail=True, methods=["get"], url_path="leaving")
    def what_ends(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Say what ends, and what stays behind, when a person leaves. Only administrators may."""
        person = self.found(id)
        ends = selectors.what_ends(self.actor, person, self.leaving)
        return Response(LeavingOut({"person": person, "consequences": ends}).data)

    @operation(takes=PersonWhyIn, gives=PersonOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def leave(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let a person leave: sign-ins, keys, roles and requests end at once. Only administrators may."""
        reason = self.body(PersonWhyIn)["reason"]
        endings = self.leaving.endings
        services.deactivate_person(actor=self.actor, user=self.found(id), reason=reason, endings=endings)
        return self.answer(self.found(id))

    @operation(takes=PersonWhyIn, gives=PersonOut, refuses=(404,))
    @action(detail=True, methods=["post"], url_path="return", url_name="return")
    def come_back(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let a person who left sign in again, with nothing of before. Only administrators may."""
        reason = self.body(PersonWhyIn)["reason"]
        services.reactivate_person(actor=self.actor, user=self.found(id), reason=reason)
        return self.answer(self.found(id))

    @operation(takes=PersonWhyIn, gives=PersonOut, refuses=(404,))
    @action(detail=True, methods=["post"], url_path="reset-factors")
    def reset_factors(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Take away lost second factors and sign the person out everywhere. Only administrators may."""
        reason = self.body(PersonWhyIn)["reason"]
        services.reset_factors(actor=self.actor, user=self.found(id), reason=reason)
        return self.answer(self.found(id))


class RoleViewSet(NounViewSet):
    """Roles of the people whom the person may know of, those that have ended too."""

    noun = "role"
    lookup_value_regex = id_pattern("rol")
    out = RoleOut
    list_query = RoleQuery

    def get_queryset(self) -> QuerySet[RoleAssignment]:
        """Return the roles in scope."""
        people = selectors.people_visible_to(self.actor).order_by()
        roles = RoleAssignment.objects.filter(user__in=people.values("pk"))
        return roles.select_related("user", "team", "department", "granted_by")

    def chosen(self, rows: QuerySet[RoleAssignment]) -> QuerySet[RoleAssignment]:
        """Narrow the list down to a person, a role, a team, a department, and what is in force."""
        found = self.narrowed(
            rows,
            person="user__public_id",
            role="role",
            team="team__public_id",
            department="department__public_id",
        )
        live = RoleAssignment.objects.live().order_by()
        return found.filter(pk__in=live.values("pk")) if "in_force" in self.query else found

    @operation(takes=RoleCreateIn, gives=RoleOut, status=201)
    def create(self, request: Request) -> Response:
        """Give a person a role from now on, in force at once. Only administrators may, nobody to himself."""
        selectors.require_admin(self.actor, "give roles")
        wanted = self.body(RoleCreateIn)
        people = selectors.people_visible_to(self.actor)
        held = services.assign_role(
            actor=self.actor,
            user=referred(people, field="person", noun="person", public_id=wanted["person"]),
            role=Role(wanted["role"]),
            team=self._named(wanted, "team", Team.objects.all()),
            department=self._named(wanted, "department", Department.objects.all()),
            valid_until=wanted.get("valid_until"),
        )
        return self.created(held)

    @operation(takes=RoleEndIn, gives=RoleOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a role now: nothing can be decided in it any more. Only administrators may."""
        reason = self.body(RoleEndIn)["reason"]
        services.end_role(actor=self.actor, assignment=self.found(id), reason=reason)
        return self.answer(self.found(id))

    def _named(self, wanted: dict[str, Any], field: str, rows: QuerySet[_Place]) -> _Place | None:
        """Return the place that the body names in a field, among those that are open."""
        if field not in wanted:
            return None
        return referred(
            rows.filter(archived_at__isnull=True), field=field, noun=field, public_id=wanted[field]
        )
