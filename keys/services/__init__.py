"""What may be done with keys and grants; one module an act."""

from keys.services.granting import grant, revoke_grant
from keys.services.issuing import issue_approved_key, issue_key
from keys.services.leaving import revoke_keys_of
from keys.services.revealing import Revealed, reveal
from keys.services.revoking import revoke

__all__ = [
    "Revealed",
    "grant",
    "issue_approved_key",
    "issue_key",
    "reveal",
    "revoke",
    "revoke_grant",
    "revoke_keys_of",
]
