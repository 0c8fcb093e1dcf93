"""Addresses of the pages of approvals."""

from django.urls import path

from approvals import views

app_name = "approvals"

urlpatterns = [
    path("", views.list_requests, name="list"),
    path("ask/", views.ask, name="ask"),
    path("budgets/<slug:public_id>/ask/", views.ask_for_budget, name="ask_budget"),
    path("budgets/requests/<slug:public_id>/", views.show_budget_request, name="budget_request"),
    path("budgets/requests/<slug:public_id>/amend/", views.amend_budget_request, name="amend_budget"),
    path(
        "budgets/requests/<slug:public_id>/comment/", views.comment_on_budget_request, name="comment_budget"
    ),
    path("budgets/requests/<slug:public_id>/decide/", views.decide_budget_request, name="decide_budget"),
    path(
        "budgets/requests/<slug:public_id>/withdraw/", views.withdraw_budget_request, name="withdraw_budget"
    ),
    path("break-glass/", views.break_the_glass, name="break_glass"),
    path("delegations/", views.delegations, name="delegations"),
    path("delegations/<slug:public_id>/end/", views.end_delegation, name="end_delegation"),
    path("extend/<slug:public_id>/", views.extend_access, name="extend"),
    path("offers/<slug:public_id>/", views.take_offer, name="take_offer"),
    path("policies/", views.list_policies, name="policies"),
    path("policies/<slug:public_id>/edit/", views.edit_policy, name="edit_policy"),
    path("policies/<slug:public_id>/retire/", views.retire_policy, name="retire_policy"),
    path("policies/proposals/<slug:public_id>/", views.show_proposal, name="proposal"),
    path("review/", views.review_access, name="review"),
    path("review/<slug:public_id>/", views.review_one, name="review_one"),
    path("together/", views.approve_several, name="together"),
    path("<slug:public_id>/", views.show_request, name="detail"),
    path("<slug:public_id>/amend/", views.amend_request, name="amend"),
    path("<slug:public_id>/comment/", views.comment_on, name="comment"),
    path("<slug:public_id>/decide/", views.decide_request, name="decide"),
    path("<slug:public_id>/withdraw/", views.withdraw_request, name="withdraw"),
]
