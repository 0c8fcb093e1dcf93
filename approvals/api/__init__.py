"""Approvals in the management API."""

from approvals.api.delegations import DelegationViewSet
from approvals.api.policies import PolicyProposalViewSet, PolicyViewSet
from approvals.api.requests import AccessRequestViewSet, BudgetRequestViewSet
from approvals.api.reviews import AccessReviewViewSet

__all__ = [
    "AccessRequestViewSet",
    "AccessReviewViewSet",
    "BudgetRequestViewSet",
    "DelegationViewSet",
    "PolicyProposalViewSet",
    "PolicyViewSet",
]
