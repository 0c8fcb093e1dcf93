"""Requests for more budget; `approvals.services.decide` decides them too."""

from approvals.services.increases.amending import amend_increase
from approvals.services.increases.asking import ask_increase, withdraw_increase
from approvals.services.increases.commenting import comment_increase
from approvals.services.increases.deciding import IncreaseOutcome, decide_increase, expire_increases

__all__ = [
    "IncreaseOutcome",
    "amend_increase",
    "ask_increase",
    "comment_increase",
    "decide_increase",
    "expire_increases",
    "withdraw_increase",
]
