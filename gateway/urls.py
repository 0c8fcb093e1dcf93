"""The decision API as plain Django serves it."""

from django.urls import path

from gateway.hot import decisions, leases
from gateway.views import decide

urlpatterns = [
    path(decision_path.removeprefix("/"), decide) for decision_path in (*decisions.ASKS, *leases.ASKS)
]
