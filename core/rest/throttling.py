"""How often one address may call what anybody may call."""

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView


class LeakReports(SimpleRateThrottle):
    """So many reports of leaks a minute from one address, counted by each web process."""

    scope = "leaks"

    def get_rate(self) -> str:
        """Return the rate of the settings."""
        return f"{settings.LEAK_REPORTS_PER_MINUTE}/minute"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        """Count by the peer's address: a header that anybody can write does not begin a new count."""
        return f"{self.scope}:{request.META.get('REMOTE_ADDR', '')}"
