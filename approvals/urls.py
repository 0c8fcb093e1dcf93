"""Addresses of the pages of approvals."""

from django.urls import path

from approvals import views

app_name = "approvals"

urlpatterns = [
    path("", views.list_requests, name="list"),
    path("ask/", views.ask, name="ask"),
    path("<slug:public_id>/", views.show_request, name="detail"),
    path("<slug:public_id>/decide/", views.decide_request, name="decide"),
    path("<slug:public_id>/withdraw/", views.withdraw_request, name="withdraw"),
]
