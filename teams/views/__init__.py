"""The pages of people and of their sign-ins."""

from teams.views.sessions import end_session, list_sessions

__all__ = ["end_session", "list_sessions"]
