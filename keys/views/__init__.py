"""Pages of keys."""

from keys.views.changing import end_previous_secret, rename_key, rotate_key
from keys.views.detail import show_key
from keys.views.granting import end_grant, shrink_grant
from keys.views.listing import list_keys
from keys.views.making import create_key, reveal_key
from keys.views.revoking import revoke_key

__all__ = [
    "create_key",
    "end_grant",
    "end_previous_secret",
    "list_keys",
    "rename_key",
    "reveal_key",
    "revoke_key",
    "rotate_key",
    "show_key",
    "shrink_grant",
]
