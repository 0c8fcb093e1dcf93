"""Keys, grants, API tokens and service accounts in the API; reports of leaks."""

from keys.api.keys import ApiKeyViewSet, GrantViewSet, LeakViewSet
from keys.api.suspensions import PlannedActivityViewSet, SuspensionViewSet
from keys.api.tokens import ApiTokenViewSet, ServiceAccountViewSet

__all__ = [
    "ApiKeyViewSet",
    "ApiTokenViewSet",
    "GrantViewSet",
    "LeakViewSet",
    "PlannedActivityViewSet",
    "ServiceAccountViewSet",
    "SuspensionViewSet",
]
