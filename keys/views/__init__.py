"""The pages of keys."""

from keys.views.listing import list_keys
from keys.views.making import create_key, reveal_key
from keys.views.revoking import revoke_key

__all__ = ["create_key", "list_keys", "reveal_key", "revoke_key"]
