"""What may be done with a request; one module an act. `decide` is the only way to a decision."""

from approvals.services.amending import amend
from approvals.services.closing import close_requests_of
from approvals.services.deciding import Outcome, decide
from approvals.services.expiring import expire_due
from approvals.services.increases.asking import amend_increase, ask_increase, withdraw_increase
from approvals.services.increases.deciding import IncreaseOutcome
from approvals.services.submitting import submit
from approvals.services.withdrawing import withdraw

__all__ = [
    "IncreaseOutcome",
    "Outcome",
    "amend",
    "amend_increase",
    "ask_increase",
    "close_requests_of",
    "decide",
    "expire_due",
    "submit",
    "withdraw",
    "withdraw_increase",
]
