"""What may be done with keys and grants; one module an act."""

from keys.services.accounts import open_service_account
from keys.services.granting import grant, grant_for_hours
from keys.services.handing_over import hand_over_service
from keys.services.issuing import issue_approved_key, issue_key
from keys.services.leaks import report_leak
from keys.services.leaving import revoke_keys_in_team, revoke_keys_of
from keys.services.planning import cancel_activity, plan_activity
from keys.services.renaming import rename_key
from keys.services.revealing import Revealed, reveal
from keys.services.revoking import revoke
from keys.services.rotating import end_previous_secret, rotate
from keys.services.shrinking import revoke_grant, shrink_grant
from keys.services.suspending import resume, suspend
from keys.services.tokens import RevealedToken, make_token, reveal_token, revoke_token

__all__ = [
    "Revealed",
    "RevealedToken",
    "cancel_activity",
    "end_previous_secret",
    "grant",
    "grant_for_hours",
    "hand_over_service",
    "issue_approved_key",
    "issue_key",
    "make_token",
    "open_service_account",
    "plan_activity",
    "rename_key",
    "report_leak",
    "resume",
    "reveal",
    "reveal_token",
    "revoke",
    "revoke_grant",
    "revoke_keys_in_team",
    "revoke_keys_of",
    "revoke_token",
    "rotate",
    "shrink_grant",
    "suspend",
]
