"""The pages of people and of their sign-ins."""

from teams.views import scim
from teams.views.changing import (
    add_person,
    end_role,
    give_role,
    let_leave,
    let_return,
    rename_person,
    reset_factors,
)
from teams.views.confirming import confirm_at_provider
from teams.views.people import list_people, show_person
from teams.views.sessions import end_session, list_sessions

__all__ = [
    "add_person",
    "confirm_at_provider",
    "end_role",
    "end_session",
    "give_role",
    "let_leave",
    "let_return",
    "list_people",
    "list_sessions",
    "rename_person",
    "reset_factors",
    "scim",
    "show_person",
]
