"""The pages of people and of their sign-ins."""

from teams.views.confirming import confirm_at_provider
from teams.views.sessions import end_session, list_sessions

__all__ = ["confirm_at_provider", "end_session", "list_sessions"]
