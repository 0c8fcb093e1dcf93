"""Every address of the portal."""

from django.urls import URLPattern, URLResolver, include, path

import keys.urls
from portal.health import healthz, readyz
from usage.selectors import key_use

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("accounts/", include("allauth.account.urls")),
    path("approvals/", include("approvals.urls")),
    path("keys/", include(keys.urls.routes(use_of=key_use))),
    path("api/", include("portal.api_urls")),
    path("", include("gateway.urls")),
]
