"""What may be done with keys and grants; one module an act."""

from keys.services.granting import grant
from keys.services.issuing import issue_approved_key, issue_key
from keys.services.leaving import revoke_keys_of
from keys.services.revealing import Revealed, reveal
from keys.services.revoking import revoke
from keys.services.shrinking import revoke_grant, shrink_grant

__all__ = [
    "Revealed",
    "grant",
    "issue_approved_key",
    "issue_key",
    "reveal",
    "revoke",
    "revoke_grant",
    "revoke_keys_of",
    "shrink_grant",
]
