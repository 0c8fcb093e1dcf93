"""The gateway API as plain Django serves it."""

from django.urls import path

from gateway.hot import decisions, leases
from gateway.views import decide, push_usage

PUSH_PATH = "/gateway/v1/usage"

urlpatterns = [
    *(path(ask.removeprefix("/"), decide) for ask in (*decisions.ASKS, *leases.ASKS)),
    path(PUSH_PATH.removeprefix("/"), push_usage),
]
