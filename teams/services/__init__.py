"""How the organisation changes; an `actor` of None is the system itself, which sets an installation up."""

from teams.services.administrators import add_administrator
from teams.services.changes import (
    archive_department,
    archive_project,
    archive_team,
    move_project,
    move_team,
    rename_department,
    rename_project,
    rename_team,
)
from teams.services.directory import follow_groups, remove_group, save_group
from teams.services.factors import record_sign_in_change, reset_factors
from teams.services.members import add_member, end_membership
from teams.services.organisation import create_department, create_project, create_team, hand_over_project
from teams.services.people import (
    change_address,
    create_person,
    deactivate_person,
    link_person,
    reactivate_person,
    remove_person,
    rename_person,
)
from teams.services.roles import assign_role, end_role
from teams.services.sessions import end_sessions

__all__ = [
    "add_administrator",
    "add_member",
    "archive_department",
    "archive_project",
    "archive_team",
    "assign_role",
    "change_address",
    "create_department",
    "create_person",
    "create_project",
    "create_team",
    "deactivate_person",
    "end_membership",
    "end_role",
    "end_sessions",
    "follow_groups",
    "hand_over_project",
    "link_person",
    "move_project",
    "move_team",
    "reactivate_person",
    "record_sign_in_change",
    "remove_group",
    "remove_person",
    "rename_department",
    "rename_person",
    "rename_project",
    "rename_team",
    "reset_factors",
    "save_group",
]
