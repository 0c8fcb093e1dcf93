"""The pages of approvals."""

from approvals.views.asking import ask
from approvals.views.changing import amend_request, break_the_glass, extend_access
from approvals.views.deciding import decide_request
from approvals.views.delegations import delegations, end_delegation
from approvals.views.increases import (
    amend_budget_request,
    ask_for_budget,
    comment_on_budget_request,
    decide_budget_request,
    show_budget_request,
    withdraw_budget_request,
)
from approvals.views.policies import edit_policy, list_policies, retire_policy, show_proposal
from approvals.views.reading import list_requests, show_request
from approvals.views.reviews import review_access, review_one
from approvals.views.talking import comment_on, take_offer
from approvals.views.together import approve_several
from approvals.views.withdrawing import withdraw_request

__all__ = [
    "amend_budget_request",
    "amend_request",
    "approve_several",
    "ask",
    "ask_for_budget",
    "break_the_glass",
    "comment_on",
    "comment_on_budget_request",
    "decide_budget_request",
    "decide_request",
    "delegations",
    "edit_policy",
    "end_delegation",
    "extend_access",
    "list_policies",
    "list_requests",
    "retire_policy",
    "review_access",
    "review_one",
    "show_budget_request",
    "show_proposal",
    "show_request",
    "take_offer",
    "withdraw_budget_request",
    "withdraw_request",
]
