"""How the organisation changes; an `actor` of None is the system itself, which sets an installation up."""

from teams.services.changes import (
    archive_project,
    archive_team,
    deactivate_person,
    move_project,
    move_team,
    rename_department,
    rename_project,
    rename_team,
)
from teams.services.factors import record_sign_in_change
from teams.services.organisation import (
    add_member,
    assign_role,
    create_department,
    create_project,
    create_team,
    end_membership,
    end_role,
)
from teams.services.sessions import end_sessions

__all__ = [
    "add_member",
    "archive_project",
    "archive_team",
    "assign_role",
    "create_department",
    "create_project",
    "create_team",
    "deactivate_person",
    "end_membership",
    "end_role",
    "end_sessions",
    "move_project",
    "move_team",
    "record_sign_in_change",
    "rename_department",
    "rename_project",
    "rename_team",
]
