"""The acts on the organisation, its people and its directory."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.test import override_settings

import teams.services
from budgets.services.moves import move_project, move_team
from teams.models import DirectoryGroup, Role, RoleAssignment, RoleSource
from tests.cast import Cast
from tests.factories import DepartmentFactory
from tests.walk import WHY, Walk


def come_back(cast: Cast) -> None:
    teams.services.deactivate_person(actor=cast.ann, user=cast.ada, reason=WHY, endings=())
    teams.services.reactivate_person(actor=cast.ann, user=cast.ada, reason=WHY)


def follow_directory(cast: Cast) -> None:
    with override_settings(DIRECTORY_ROLES={"Accountants": (("finance", ""),)}):
        teams.services.follow_groups(user=cast.ada, source=RoleSource.SIGN_IN, groups=["Accountants"])


@override_settings(DIRECTORY_ROLES={"Accountants": (("finance", ""),)})
def save_group(cast: Cast) -> DirectoryGroup:
    return teams.services.save_group(group=None, name="Accountants", external_id="", members=[cast.ada])


def reset_factors(cast: Cast) -> None:
    Authenticator.objects.create(user=cast.ben, type=Authenticator.Type.TOTP, data={})
    teams.services.reset_factors(actor=cast.ann, user=cast.ben, reason=WHY)


def sign_out(cast: Cast) -> None:
    UserSession.objects.create(user=cast.ada, ip="192.0.2.1", session_key="of-a-test", user_agent="")
    teams.services.end_sessions(actor=cast.ada, user=cast.ada, reason=WHY)


@override_settings(DIRECTORY_ROLES={"Accountants": (("finance", ""),)})
def empty_group(cast: Cast) -> None:
    group = save_group(cast)
    teams.services.save_group(group=group, name="Accountants", external_id="", members=[])


def remove_leaver(cast: Cast) -> None:
    teams.services.deactivate_person(actor=cast.ann, user=cast.ada, reason=WHY, endings=())
    teams.services.remove_person(user=cast.ada, reason=WHY, endings=())


def leave_signed_in(cast: Cast) -> None:
    UserSession.objects.create(user=cast.ada, ip="192.0.2.1", session_key="of-a-test", user_agent="")
    teams.services.deactivate_person(actor=cast.ann, user=cast.ada, reason=WHY, endings=())


WALK: Walk = {
    "teams.add_administrator": (
        lambda _: teams.services.add_administrator(
            email="nia@example.com", name="Nia", even_if_there_are_some=True
        ),
        ["person.created", "role.assigned"],
    ),
    "teams.create_department": (
        lambda cast: teams.services.create_department(actor=cast.ann, code="new", name="New"),
        ["department.created"],
    ),
    "teams.create_team": (
        lambda cast: teams.services.create_team(
            actor=cast.ann, department=cast.product, code="new", name="New"
        ),
        ["team.created"],
    ),
    "teams.create_project": (
        lambda cast: teams.services.create_project(
            actor=cast.ben, team=cast.search, code="new", name="New", owner=cast.ben, cost_centre="CC-9"
        ),
        ["project.created"],
    ),
    "teams.hand_over_project": (
        lambda cast: teams.services.hand_over_project(
            actor=cast.ben, project=cast.ranking, owner=cast.ada, reason=WHY
        ),
        ["project.handed_over"],
    ),
    "teams.add_member": (
        lambda cast: teams.services.add_member(actor=cast.ben, team=cast.search, user=cast.dan),
        ["team.member_added"],
    ),
    "teams.end_membership": (
        lambda cast: teams.services.end_membership(
            actor=cast.ben, team=cast.search, user=cast.ada, reason="Moved.", endings=()
        ),
        ["team.member_left"],
    ),
    "teams.assign_role": (
        lambda cast: teams.services.assign_role(
            actor=cast.ann, user=cast.ada, role=Role.LEAD, team=cast.search
        ),
        ["role.assigned"],
    ),
    "teams.end_role": (
        lambda cast: teams.services.end_role(
            actor=cast.ann, assignment=RoleAssignment.objects.get(user=cast.ben), reason="Moved."
        ),
        ["role.ended"],
    ),
    "teams.rename_department": (
        lambda cast: teams.services.rename_department(
            actor=cast.ann, department=cast.product, name="Products", reason=WHY
        ),
        ["department.renamed"],
    ),
    "teams.rename_team": (
        lambda cast: teams.services.rename_team(actor=cast.cleo, team=cast.search, name="Find", reason=WHY),
        ["team.renamed"],
    ),
    "teams.rename_project": (
        lambda cast: teams.services.rename_project(
            actor=cast.cleo, project=cast.ranking, name="Order", reason=WHY
        ),
        ["project.renamed"],
    ),
    "teams.move_project": (
        lambda cast: teams.services.move_project(
            actor=cast.ann, project=cast.ranking, team=cast.cards, reason=WHY
        ),
        ["project.moved"],
    ),
    "budgets.move_project": (
        lambda cast: move_project(actor=cast.ann, project=cast.ranking, team=cast.cards, reason=WHY),
        ["project.moved"],
    ),
    "budgets.move_team": (
        lambda cast: move_team(actor=cast.ann, team=cast.search, department=cast.payments, reason=WHY),
        ["team.moved"],
    ),
    "teams.move_team": (
        lambda cast: teams.services.move_team(
            actor=cast.ann, team=cast.search, department=cast.payments, reason=WHY
        ),
        ["team.moved"],
    ),
    "teams.archive_project": (
        lambda cast: teams.services.archive_project(actor=cast.cleo, project=cast.ranking, reason=WHY),
        ["project.archived"],
    ),
    "teams.archive_team": (
        lambda cast: teams.services.archive_team(actor=cast.cleo, team=cast.search, reason=WHY),
        ["project.archived", "team.archived"],
    ),
    "teams.archive_department": (
        lambda cast: teams.services.archive_department(
            actor=cast.ann, department=DepartmentFactory.create(), reason=WHY
        ),
        ["department.archived"],
    ),
    "teams.create_person": (
        lambda cast: teams.services.create_person(actor=cast.ann, email="nia@example.com", name="Nia"),
        ["person.created"],
    ),
    "teams.rename_person": (
        lambda cast: teams.services.rename_person(actor=cast.ann, user=cast.ada, name="Ada May", reason=WHY),
        ["person.renamed"],
    ),
    "teams.change_address": (
        lambda cast: teams.services.change_address(
            actor=cast.ann, user=cast.ada, email="may@example.com", reason=WHY
        ),
        ["person.address_changed"],
    ),
    "teams.reactivate_person": (come_back, ["person.reactivated"]),
    "teams.reset_factors": (reset_factors, ["person.factors_reset"]),
    "teams.remove_person": (
        lambda cast: teams.services.remove_person(user=cast.ada, reason=WHY, endings=()),
        ["person.deactivated"],
    ),
    "teams.link_person": (
        lambda cast: teams.services.link_person(user=cast.ada, external_id="00u"),
        ["person.linked"],
    ),
    "teams.save_group": (save_group, ["group.created", "role.assigned"]),
    "teams.remove_group": (
        lambda cast: teams.services.remove_group(group=save_group(cast)),
        ["group.removed", "role.ended"],
    ),
    "teams.follow_groups": (follow_directory, ["role.assigned"]),
    "teams.record_sign_in_change": (
        lambda cast: teams.services.record_sign_in_change(
            user=cast.ada, change="totp_activated", session_key=""
        ),
        ["person.second_factor_added"],
    ),
    "teams.end_sessions": (sign_out, ["person.sessions_ended"]),
    "teams.deactivate_person": (
        lambda cast: teams.services.deactivate_person(actor=cast.ann, user=cast.ada, reason=WHY, endings=()),
        ["person.deactivated"],
    ),
    "teams.deactivate_person: signed in": (
        leave_signed_in,
        ["person.sessions_ended", "person.deactivated"],
    ),
    "teams.remove_person: has left": (remove_leaver, ["person.removed"]),
    "teams.save_group: empty": (empty_group, ["group.changed", "role.ended"]),
}
