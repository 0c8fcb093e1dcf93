"""What secret scanners need to know of our secrets; docs/secret-scanning.toml says the same to gitleaks."""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from keys.secrets import API_TOKEN_PATTERN, TOKEN_PATTERN


@require_safe
@login_not_required
def secret_patterns(request: HttpRequest) -> JsonResponse:
    """Return the regular expressions of our secrets, how they are checked, and where leaks are reported."""
    return JsonResponse(
        {
            "patterns": [
                {"id": "purser-key", "description": "Purser key of a gateway", "regex": TOKEN_PATTERN},
                {"id": "purser-api-token", "description": "Purser API token", "regex": API_TOKEN_PATTERN},
            ],
            "checksum": "The last 6 characters are the CRC32 of all before, in base62 (0-9A-Za-z).",
            "report": f"{settings.BASE_URL}{reverse('api:leaks-list')}",
        }
    )
