"""Addresses of the pages of blocked calls, reconciliation, quarantine, providers, bills and repricing."""

from django.urls import URLPattern, path

from usage import views
from usage.ports import SourceNames


def routes(*, names_of_sources: SourceNames) -> tuple[list[URLPattern], str]:
    """Return the pages with their name space; what gateways are called is handed in."""
    given = {"names_of_sources": names_of_sources}
    patterns = [
        path("", views.list_days, given, name="list"),
        path("periods/", views.list_periods, name="periods"),
        path("periods/<str:month>/", views.show_period, name="period"),
        path("periods/<str:month>/soft-close/", views.close_softly, name="soft_close"),
        path("periods/<str:month>/close/", views.close_for_good, name="close"),
        path("periods/<str:month>/reopen/", views.reopen, name="reopen"),
        path("differences/<str:public_id>/", views.show_difference, given, name="difference"),
        path("differences/<str:public_id>/resolve/", views.resolve_difference, given, name="resolve"),
        path("differences/<str:public_id>/assign/", views.assign_difference, name="assign"),
        path("<str:source>/<str:day>/", views.show_day, given, name="detail"),
    ]
    return patterns, "reconciliation"


def blocked_routes() -> tuple[list[URLPattern], str]:
    """Return the page of blocked calls with its name space."""
    return [path("", views.list_blocked, name="list")], "blocked"


def price_routes() -> list[URLPattern]:
    """Return the pages of pricing the past again; they stand among those of prices."""
    return [
        path("repricings/", views.list_repricings, name="repricings"),
        path("repricings/new/", views.new_repricing, name="new_repricing"),
        path("repricings/<str:public_id>/", views.show_repricing, name="repricing"),
    ]


def source_routes(*, names_of_sources: SourceNames) -> tuple[list[URLPattern], str]:
    """Return the page of sources with its name space."""
    given = {"names_of_sources": names_of_sources}
    patterns = [
        path("", views.list_sources, given, name="list"),
        path("<str:source>/read/", views.read_now, name="read"),
    ]
    return patterns, "sources"


def provider_routes(*, names_of_gateways: SourceNames) -> tuple[list[URLPattern], str]:
    """Return the pages of providers' accounts and of our keys there with their name space."""
    given = {"names_of_sources": names_of_gateways}
    patterns = [
        path("", views.list_accounts, name="list"),
        path("add/", views.add_account, name="add"),
        path("<str:public_id>/", views.show_account, given, name="detail"),
        path("<str:public_id>/credential/", views.change_key_place, name="credential"),
        path("<str:public_id>/close/", views.close_account, name="close"),
        path("<str:public_id>/keys/add/", views.register_key, given, name="register_key"),
        path("<str:public_id>/keys/<slug:key_id>/retire/", views.retire_key, name="retire_key"),
    ]
    return patterns, "providers"


def invoice_routes() -> tuple[list[URLPattern], str]:
    """Return the pages of providers' bills with their name space."""
    patterns = [
        path("", views.list_invoices, name="list"),
        path("upload/", views.upload, name="upload"),
        path("<str:public_id>/", views.show_invoice, name="detail"),
    ]
    return patterns, "invoices"


def quarantine_routes(*, names_of_sources: SourceNames) -> tuple[list[URLPattern], str]:
    """Return the pages of quarantine with their name space; what gateways are called is handed in."""
    given = {"names_of_sources": names_of_sources}
    patterns = [
        path("", views.list_quarantine, given, name="list"),
        path("<str:public_id>/", views.show_quarantined, given, name="detail"),
        path("<str:public_id>/assign/", views.assign_row, given, name="assign"),
        path("<str:public_id>/dismiss/", views.dismiss_row, name="dismiss"),
    ]
    return patterns, "quarantine"


def report_routes() -> tuple[list[URLPattern], str]:
    """Return the pages of reports with their name space."""
    patterns = [
        path("", views.list_teams, name="list"),
        path("focus/<str:month>/", views.export_focus, name="focus"),
        path("<str:public_id>/<str:month>/", views.show_statement, name="statement"),
    ]
    return patterns, "reports"
