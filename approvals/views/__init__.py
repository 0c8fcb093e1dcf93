"""The pages of approvals."""

from approvals.views.asking import ask
from approvals.views.deciding import decide_request
from approvals.views.increases import (
    ask_for_budget,
    decide_budget_request,
    show_budget_request,
    withdraw_budget_request,
)
from approvals.views.reading import list_requests, show_request
from approvals.views.withdrawing import withdraw_request

__all__ = [
    "ask",
    "ask_for_budget",
    "decide_budget_request",
    "decide_request",
    "list_requests",
    "show_budget_request",
    "show_request",
    "withdraw_budget_request",
    "withdraw_request",
]
