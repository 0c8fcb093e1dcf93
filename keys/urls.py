"""Addresses of the pages of keys."""

from django.urls import URLPattern, path

from keys import views
from keys.ports import ColumnsOfUse, ExposureOfKey, UseOfKeys

public_routes = [path("secret-patterns.json", views.secret_patterns, name="secret_patterns")]


def routes(
    *, use_of: UseOfKeys, columns_of_use: ColumnsOfUse, exposure_of: ExposureOfKey
) -> tuple[list[URLPattern], str]:
    """Return the pages with their name space; what keys consumed is read by what is handed in."""
    listed = {"use_of": use_of, "columns_of_use": columns_of_use}
    patterns = [
        path("", views.list_keys, listed, name="list"),
        path("new/", views.create_key, name="create"),
        path("tokens/", views.list_tokens, name="tokens"),
        path("tokens/new/", views.create_token, name="create_token"),
        path("tokens/services/", views.list_services, name="services"),
        path("tokens/services/<slug:public_id>/hand-over/", views.hand_over_service, name="hand_over"),
        path("tokens/services/new/", views.create_service, name="create_service"),
        path("tokens/<slug:token_id>/reveal/", views.reveal_token, name="reveal_token"),
        path("tokens/<slug:token_id>/revoke/", views.revoke_token, name="revoke_token"),
        path("<slug:public_id>/reveal/", views.reveal_key, name="reveal"),
        path("<slug:public_id>/", views.show_key, {"exposure_of": exposure_of}, name="detail"),
        path("<slug:public_id>/rename/", views.rename_key, name="rename"),
        path("<slug:public_id>/rotate/", views.rotate_key, name="rotate"),
        path("<slug:public_id>/rotate/end/", views.end_previous_secret, name="end_previous"),
        path("<slug:public_id>/revoke/", views.revoke_key, {"exposure_of": exposure_of}, name="revoke"),
        path("<slug:public_id>/suspend/", views.suspend_key, name="suspend"),
        path("<slug:public_id>/resume/", views.resume_key, name="resume"),
        path("<slug:public_id>/plan/", views.plan_activity, name="plan"),
        path("<slug:public_id>/plan/<slug:plan_id>/cancel/", views.cancel_activity, name="cancel_plan"),
        path("<slug:public_id>/grants/<slug:grant_id>/shrink/", views.shrink_grant, name="shrink_grant"),
        path("<slug:public_id>/grants/<slug:grant_id>/end/", views.end_grant, name="end_grant"),
    ]
    return patterns, "keys"
