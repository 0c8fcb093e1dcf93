"""The pages of approvals."""

from approvals.views.asking import ask
from approvals.views.deciding import decide_request
from approvals.views.reading import list_requests, show_request
from approvals.views.withdrawing import withdraw_request

__all__ = ["ask", "decide_request", "list_requests", "show_request", "withdraw_request"]
