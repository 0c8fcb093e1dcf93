"""Who asked as somebody that he is no more: a lead or a director whose role has ended since."""

from django.db.models import Exists, OuterRef, Q

from core import clock
from teams.models import Membership, Role, RoleAssignment


def led_the_team() -> Q:
    """Select requests for access of who led the team of their project, does not now, and is no member of it.

    Who never worked there, because the project came from another team, is not meant: his new lead decides.
    """
    return _ended("beneficiary", Role.LEAD, "team", "project__team") & ~Q(
        Exists(Membership.objects.live().filter(user=OuterRef("beneficiary"), team=OuterRef("project__team")))
    )


def answered_for_the_budget() -> Q:
    """Select requests for more budget of who led the team, or directed the department, whose budget it is,
    and neither works there nor answers for it by another role.
    """
    former = _ended("requester", Role.DIRECTOR, "department", "department")
    still = Q(team__isnull=True, department__isnull=True) | Q(department=OuterRef("department"))
    members = Q()
    for team in ("team", "project__team"):
        former |= _ended("requester", Role.LEAD, "team", team)
        still |= Q(department=OuterRef(f"{team}__department")) | Q(team=OuterRef(team))
        members |= Q(team=OuterRef(team))
    mine = {"user": OuterRef("requester")}
    return (
        former
        & ~Q(Exists(RoleAssignment.objects.live().filter(still, **mine)))
        & ~Q(Exists(Membership.objects.live().filter(members, **mine)))
    )


def _ended(person: str, role: Role, place: str, where: str) -> Q:
    held = RoleAssignment.objects.filter(**{"user": OuterRef(person), "role": role, place: OuterRef(where)})
    return Q(Exists(held.filter(valid_until__lte=clock.now()))) & ~Q(Exists(held.live()))
