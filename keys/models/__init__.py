"""Internal API keys, the grants that raise what a key may call for a time, what stops a key for a time, and
tokens of the management API.
"""

from keys.models.keys import MAX_OVERLAP_HOURS, ApiKey, Grant, GrantState, KeyState
from keys.models.suspensions import PlannedActivity, Suspension, SuspensionCause
from keys.models.tokens import ApiToken, ServiceAccount

__all__ = [
    "MAX_OVERLAP_HOURS",
    "ApiKey",
    "ApiToken",
    "Grant",
    "GrantState",
    "KeyState",
    "PlannedActivity",
    "ServiceAccount",
    "Suspension",
    "SuspensionCause",
]
