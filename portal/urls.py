"""Every address of the portal."""

from django.urls import URLPattern, URLResolver, include, path, reverse

import budgets.urls
import catalog.urls
import keys.urls
import portal.audit.views
import portal.gateways.pages
import portal.news.deliveries
import portal.news.webhooks
import portal.places.urls
import teams.urls
import usage.urls
from approvals.terms import approvers_by_tier
from gateway.selectors import gateway_names, source_names
from keys.directory import key_labels, projects_with_grants
from portal.api_urls import Keys
from portal.health import healthz, readyz
from portal.home.overview import overview
from portal.home.search import search
from portal.home.status import status
from portal.leaving import LEAVING
from portal.metrics import metrics
from portal.news.preferences import link_slack, notifications, unlink_slack
from portal.news.slack import slack_action, slack_command
from portal.places.developers import developers
from portal.views import not_ones_own, theme
from teams.views import confirm_at_provider
from usage.selectors import (
    forecast_budgets,
    key_exposure,
    key_use,
    key_use_columns,
    own_use,
    planned_effects,
)

model_pages = catalog.urls.routes(
    projects_of=projects_with_grants, approvers=approvers_by_tier, own_use=own_use, effects=planned_effects
)
price_pages = catalog.urls.price_routes(effects=planned_effects, more=usage.urls.price_routes())
budget_pages = budgets.urls.routes(
    keys=Keys(),
    key_labels=key_labels,
    forecasts=forecast_budgets,
    ask_for_more=lambda public_id: reverse("approvals:ask_budget", args=[public_id]),
)
key_pages = keys.urls.routes(use_of=key_use, columns_of_use=key_use_columns, exposure_of=key_exposure)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", overview, name="overview"),
    path("search/", search, name="search"),
    path("status/", status, name="status"),
    path("developers/", developers, name="developers"),
    path("audit/", include(portal.audit.views.routes())),
    path("notifications/", notifications, name="notifications"),
    path("notifications/slack/", link_slack, name="link_slack"),
    path("notifications/slack/unlink/", unlink_slack, name="unlink_slack"),
    path("slack/commands/", slack_command, name="slack_command"),
    path("slack/actions/", slack_action, name="slack_action"),
    path("deliveries/", include(portal.news.deliveries.routes())),
    path("webhooks/", include(portal.news.webhooks.routes())),
    path("gateways/", include(portal.gateways.pages.routes())),
    path("theme/", theme, name="theme"),
    path("people/", include(teams.urls.routes(leaving=LEAVING))),
    path("sessions/", include(teams.urls.session_routes())),
    path("models/", include(model_pages)),
    path("prices/", include(price_pages)),
    path("budgets/", include(budget_pages)),
    path("blocked/", include(usage.urls.blocked_routes())),
    path("", include(portal.places.urls.routes)),
    path("reports/", include(usage.urls.report_routes())),
    path("reconciliation/", include(usage.urls.routes(names_of_sources=gateway_names))),
    path("sources/", include(usage.urls.source_routes(names_of_sources=source_names))),
    path("providers/", include(usage.urls.provider_routes(names_of_gateways=gateway_names))),
    path("invoices/", include(usage.urls.invoice_routes())),
    path("quarantine/", include(usage.urls.quarantine_routes(names_of_sources=gateway_names))),
    path("", include(keys.urls.public_routes)),
    path("metrics", metrics, name="metrics"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("accounts/email/", not_ones_own),
    path("accounts/provider/", not_ones_own),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/confirm/", confirm_at_provider, name="confirm_at_provider"),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/provider/", include("allauth.socialaccount.urls")),
    path("accounts/", include("allauth.socialaccount.providers.openid_connect.urls")),
    path("approvals/", include("approvals.urls")),
    path("keys/", include(key_pages)),
    path("scim/v2/", include(teams.urls.scim_routes(leaving=LEAVING))),
    path("api/", include("portal.api_urls")),
    path("", include("gateway.urls")),
]

handler500 = "portal.refusals.server_error"
handler429 = "portal.refusals.too_many_attempts"
