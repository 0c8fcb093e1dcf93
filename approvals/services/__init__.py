"""What may be done with a request; one module an act. `decide` is the only way to a decision."""

from approvals.services.amending import amend
from approvals.services.breaking import break_glass
from approvals.services.closing import close_requests_in_team, close_requests_of
from approvals.services.commenting import accept_offer, comment
from approvals.services.common import how_it_ended
from approvals.services.deciding import Outcome, decide
from approvals.services.delegating import delegate, end_delegation
from approvals.services.expiring import expire_due
from approvals.services.extending import extend
from approvals.services.increases.amending import amend_increase
from approvals.services.increases.asking import ask_increase, withdraw_increase
from approvals.services.increases.commenting import comment_increase
from approvals.services.increases.deciding import IncreaseOutcome
from approvals.services.reminding import remind_due
from approvals.services.reviewing import review_grant
from approvals.services.revising import follow_all
from approvals.services.ruling import confirm_policy, drop_policy, propose_policy
from approvals.services.submitting import submit
from approvals.services.together import Answered, approve_together
from approvals.services.withdrawing import withdraw

__all__ = [
    "Answered",
    "IncreaseOutcome",
    "Outcome",
    "accept_offer",
    "amend",
    "amend_increase",
    "approve_together",
    "ask_increase",
    "break_glass",
    "close_requests_in_team",
    "close_requests_of",
    "comment",
    "comment_increase",
    "confirm_policy",
    "decide",
    "delegate",
    "drop_policy",
    "end_delegation",
    "expire_due",
    "extend",
    "follow_all",
    "how_it_ended",
    "propose_policy",
    "remind_due",
    "review_grant",
    "submit",
    "withdraw",
    "withdraw_increase",
]
