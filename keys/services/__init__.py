"""What may be done with keys and grants; one module an act."""

from keys.services.granting import grant
from keys.services.issuing import issue_approved_key, issue_key
from keys.services.leaving import revoke_keys_of
from keys.services.renaming import rename_key
from keys.services.revealing import Revealed, reveal
from keys.services.revoking import revoke
from keys.services.rotating import end_previous_secret, rotate
from keys.services.shrinking import revoke_grant, shrink_grant

__all__ = [
    "Revealed",
    "end_previous_secret",
    "grant",
    "issue_approved_key",
    "issue_key",
    "rename_key",
    "reveal",
    "revoke",
    "revoke_grant",
    "revoke_keys_of",
    "rotate",
    "shrink_grant",
]
