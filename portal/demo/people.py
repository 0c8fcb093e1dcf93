"""Makes the organisation: people, departments, teams, projects, roles, as if it had been so for long."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.hashers import make_password

from portal.demo.story import (
    ADMINISTRATOR,
    DEPARTMENTS,
    DIRECTORS,
    DOMAIN,
    EVERYWHERE,
    PEOPLE,
    PROJECTS,
    TEAMS,
    ProjectStory,
)
from teams import services
from teams.models import Department, Membership, Project, Role, RoleAssignment, Team, User

IN_OFFICE_FOR = timedelta(days=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """Who and what there is, by short name or code."""

    people: Mapping[str, User]
    departments: Mapping[str, Department]
    teams: Mapping[str, Team]
    projects: Mapping[str, Project]

    @property
    def ann(self) -> User:
        """Return the administrator who set everything up."""
        return self.people[ADMINISTRATOR]


def make_organisation(*, password: str, now: datetime) -> Organisation:
    """Make Northwind; everybody signs in with the same password."""
    people = _people(password)
    ann = people[ADMINISTRATOR]
    services.assign_role(actor=None, user=ann, role=Role.ADMIN)
    departments = {
        code: services.create_department(actor=ann, code=code, name=name)
        for code, name in DEPARTMENTS.items()
    }
    teams = {
        code: services.create_team(actor=ann, department=departments[department], code=code, name=name)
        for code, (name, department, _, _) in TEAMS.items()
    }
    _give_roles(ann, people, departments, teams)
    projects = {story.code: _project(story, ann, teams, people) for story in PROJECTS}
    _move_back(now - IN_OFFICE_FOR)
    return Organisation(people=people, departments=departments, teams=teams, projects=projects)


def _people(password: str) -> dict[str, User]:
    # One hash for all: a password hash is slow on purpose, and this is a demonstration with one password.
    encoded = make_password(password)
    User.objects.bulk_create(
        User(email=f"{short}@{DOMAIN}", name=name, password=encoded) for short, name in PEOPLE.items()
    )
    return {user.email.partition("@")[0]: user for user in User.objects.all()}


def _project(
    story: ProjectStory, ann: User, teams: Mapping[str, Team], people: Mapping[str, User]
) -> Project:
    return services.create_project(
        actor=ann,
        team=teams[story.team],
        code=story.code,
        name=story.name,
        owner=people[story.owner],
        cost_centre=story.cost_centre,
    )


def _give_roles(
    ann: User, people: Mapping[str, User], departments: Mapping[str, Department], teams: Mapping[str, Team]
) -> None:
    for code, (_, _, lead, members) in TEAMS.items():
        team = teams[code]
        for member in members:
            services.add_member(actor=ann, team=team, user=people[member])
        services.assign_role(actor=ann, user=people[lead], role=Role.LEAD, team=team)
    for code, director in DIRECTORS.items():
        services.assign_role(
            actor=ann, user=people[director], role=Role.DIRECTOR, department=departments[code]
        )
    for person, role in EVERYWHERE.items():
        services.assign_role(actor=ann, user=people[person], role=role)


def _move_back(since: datetime) -> None:
    """Let everything have been so for long, as the usage that follows needs it."""
    Membership.objects.update(valid_from=since)
    RoleAssignment.objects.update(valid_from=since)
    Project.objects.update(created_at=since)
    User.objects.update(date_joined=since)
