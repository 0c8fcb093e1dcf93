"""How often one address may call what anybody may call."""

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from core.clients import client_address


class LeakReports(SimpleRateThrottle):
    """So many reports of leaks a minute from one address, over all web processes."""

    scope = "leaks"

    def get_rate(self) -> str:
        """Return the rate of the settings."""
        return f"{settings.LEAK_REPORTS_PER_MINUTE}/minute"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        """Count by the client's address: a header that anybody can write does not begin a new count."""
        return f"{self.scope}:{client_address(request) or 'nowhere'}"
