"""Who works in which team: taken in, and let go with what he has there."""

from collections.abc import Sequence

from django.db import transaction

from core import audit, clock
from core.errors import InvalidInputError
from core.reasons import LONGEST, checked_reason
from teams.errors import AlreadyHeldError
from teams.models import Membership, Project, Role, RoleAssignment, Team, User
from teams.ports import TeamEnding
from teams.selectors import administrators, require_oversight
from teams.services.changes import locked_team, require_open

MAX_REASON_CHARACTERS = 240


@transaction.atomic
def add_member(*, actor: User | None, team: Team, user: User) -> Membership:
    """Let a person work in a team from now on; its lead, director and administrators may.

    Raises AlreadyHeldError when he works there already, AlreadyDoneError for a team that is archived and
    InvalidInputError for somebody who has left.
    """
    home = locked_team(team)
    require_oversight(actor, home)
    require_open(home, f"Team {home}", field="team")
    mine = locked_person(user)
    if not mine.is_active:
        raise InvalidInputError(f"{mine} has left. Reinstate the person first.", field="person")
    if Membership.objects.live().filter(team=home, user=mine).exists():
        raise AlreadyHeldError(
            f"{mine} works in team {home} already. Nothing needs to be done.", field="person"
        )
    membership = Membership.objects.create(team=home, user=mine, valid_from=clock.now())
    _record(actor, "team.member_added", home, {"member": mine})
    return membership


@transaction.atomic
def end_membership(
    *, actor: User | None, team: Team, user: User, reason: str, endings: Sequence[TeamEnding]
) -> Membership:
    """End a person's time in a team now, and by `endings` what he holds there; its lead, director and
    administrators may.

    Raises InvalidInputError when he does not work there, or while he leads the team or owns an open project
    of it: another one has to answer for it first.
    """
    text = checked_reason(reason, most=LONGEST)
    home = locked_team(team)
    require_oversight(actor, home)
    mine = locked_person(user)
    membership = (
        Membership.objects.live()
        .filter(team=home, user=mine)
        .select_for_update(no_key=True)
        .order_by("pk")
        .first()
    )
    if membership is None:
        raise InvalidInputError(
            f"{mine} does not work in team {home} now. Choose one of its members.", field="person"
        )
    _require_nothing_to_answer_for(home, mine)
    membership.valid_until = clock.now()
    membership.save(update_fields=["valid_until"])
    after: dict[str, object] = {"member": mine}
    why = f"{mine} has left team {home}: {text}"[:MAX_REASON_CHARACTERS]
    for ending in endings:
        after |= ending(actor=actor, person=mine, team=home, reason=why)
    _record(actor, "team.member_left", home, after, reason=text)
    return membership


def locked_person(user: User) -> User:
    """Return a person as he is now, locked to the end of the transaction: his memberships, roles and what he
    owns change one at a time.
    """
    return User.objects.select_for_update(no_key=True).order_by("pk").get(pk=user.pk)


def answers_for(team: Team, person: User) -> list[str]:
    """Return why a person cannot leave a team yet: what others have to take over first. Two queries."""
    reasons = []
    if RoleAssignment.objects.live().filter(user=person, role=Role.LEAD, team=team).exists():
        reasons.append(f"{person} leads team {team}. Ask {administrators()} to end that role first.")
    owned = Project.objects.filter(team=team, owner=person, archived_at__isnull=True)
    if projects := [str(project) for project in owned.order_by("name", "pk")]:
        names = ", ".join(projects)
        reasons.append(f"{person} owns {names}. Hand that over to somebody else of team {team} first.")
    return reasons


def _require_nothing_to_answer_for(team: Team, person: User) -> None:
    if reasons := answers_for(team, person):
        raise InvalidInputError(reasons[0], field="person")


def _record(
    actor: User | None, action: str, team: Team, after: dict[str, object], *, reason: str = ""
) -> None:
    audit.record(
        actor=actor,
        action=action,
        subject=team,
        after=after,
        reason=reason,
        team_id=team.pk,
        department_id=team.department_id,
    )
