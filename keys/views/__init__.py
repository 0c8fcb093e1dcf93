"""Pages of keys."""

from keys.views.changing import end_previous_secret, rename_key, rotate_key
from keys.views.detail import show_key
from keys.views.granting import end_grant, shrink_grant
from keys.views.listing import list_keys
from keys.views.making import create_key, reveal_key
from keys.views.patterns import secret_patterns
from keys.views.planning import cancel_activity, plan_activity
from keys.views.revoking import revoke_key
from keys.views.services import hand_over_service, list_services
from keys.views.suspending import resume_key, suspend_key
from keys.views.tokens import create_service, create_token, list_tokens, reveal_token, revoke_token

__all__ = [
    "cancel_activity",
    "create_key",
    "create_service",
    "create_token",
    "end_grant",
    "end_previous_secret",
    "hand_over_service",
    "list_keys",
    "list_services",
    "list_tokens",
    "plan_activity",
    "rename_key",
    "resume_key",
    "reveal_key",
    "reveal_token",
    "revoke_key",
    "revoke_token",
    "rotate_key",
    "secret_patterns",
    "show_key",
    "shrink_grant",
    "suspend_key",
]
