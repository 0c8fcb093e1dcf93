"""What may be done with keys and grants; one module an act."""

from keys.services.granting import grant, grant_for_hours, revoke_grant
from keys.services.issuing import issue_approved_key, issue_key
from keys.services.revealing import Revealed, reveal
from keys.services.revoking import revoke

__all__ = [
    "Revealed",
    "grant",
    "grant_for_hours",
    "issue_approved_key",
    "issue_key",
    "reveal",
    "revoke",
    "revoke_grant",
]
