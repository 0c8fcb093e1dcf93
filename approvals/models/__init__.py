"""What approvals keep."""

from approvals.models.increases import BudgetComment, BudgetRequest, BudgetRequestQuerySet, where_it_is
from approvals.models.requests import (
    BREAK_GLASS_MOST_HOURS,
    LONGEST_DELEGATION,
    AccessRequest,
    AccessRequestQuerySet,
    Comment,
    Decision,
    Delegation,
    GrantReview,
    Policy,
    PolicyProposal,
    ProposalStatus,
    RequestKind,
    Stage,
    Verdict,
    delegation_covers,
    lent_to,
)
from approvals.models.waiting import RequestStatus

__all__ = [
    "BREAK_GLASS_MOST_HOURS",
    "LONGEST_DELEGATION",
    "AccessRequest",
    "AccessRequestQuerySet",
    "BudgetComment",
    "BudgetRequest",
    "BudgetRequestQuerySet",
    "Comment",
    "Decision",
    "Delegation",
    "GrantReview",
    "Policy",
    "PolicyProposal",
    "ProposalStatus",
    "RequestKind",
    "RequestStatus",
    "Stage",
    "Verdict",
    "delegation_covers",
    "lent_to",
    "where_it_is",
]
