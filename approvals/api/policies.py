"""The rules of tiers in the API: read, tried on the last 90 days, proposed, confirmed by somebody else."""

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals import selectors, services
from approvals.models import Policy, PolicyProposal
from approvals.rules import check_rules
from approvals.serializers.policies import (
    PolicyOut,
    PolicyProposalOut,
    PolicyProposalQuery,
    PolicyProposeIn,
    PolicyQuery,
    PolicySimulateIn,
    WhatIfOut,
    rules_from,
)
from approvals.whatif import what_if
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import NounViewSet
from teams.selectors import require_admin


class PolicyViewSet(NounViewSet):
    """Every version of the rules of every tier; everybody may read them."""

    noun = "policy"
    out = PolicyOut
    list_query = PolicyQuery
    lookup_value_regex = id_pattern("pol")

    def get_queryset(self) -> QuerySet[Policy]:
        """Return all versions."""
        return Policy.objects.select_related("tier", "created_by", "confirmed_by")

    def chosen(self, rows: QuerySet[Policy]) -> QuerySet[Policy]:
        """Narrow the list down to the versions in force."""
        return rows.filter(retired_at__isnull=True) if "in_force" in self.query else rows

    @operation(takes=PolicySimulateIn, gives=WhatIfOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def simulate(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Say what other rules would have done to the requests of the last 90 days. It changes nothing."""
        require_admin(self.actor, "try other rules")
        rules = rules_from(self.body(PolicySimulateIn)["rules"])
        policy = self.found(id)
        check_rules(rules, tier=policy.tier_id)
        return Response(WhatIfOut(what_if(rules, policy.tier_id)).data)

    @operation(takes=PolicyProposeIn, gives=PolicyProposalOut, status=201, refuses=(404, 412))
    @action(detail=True, methods=["post"])
    def propose(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Propose other rules in place of the version in force; another administrator confirms them."""
        wanted = self.body(PolicyProposeIn)
        proposal = services.propose_policy(
            actor=self.actor,
            base=self.found(id),
            rules=None if wanted["rules"] is None else rules_from(wanted["rules"]),
            reason=wanted["reason"],
        )
        made = selectors.proposals_for(self.actor).get(pk=proposal.pk)
        return Response(PolicyProposalOut(made).data, status=201)


class PolicyProposalViewSet(NounViewSet):
    """What administrators proposed, and what became of it; for administrators."""

    noun = "proposal"
    out = PolicyProposalOut
    list_query = PolicyProposalQuery
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("ppo")

    def get_queryset(self) -> QuerySet[PolicyProposal]:
        """Return all proposals, to administrators."""
        return selectors.proposals_for(self.actor)

    def chosen(self, rows: QuerySet[PolicyProposal]) -> QuerySet[PolicyProposal]:
        """Narrow the list down to a status."""
        return self.narrowed(rows, status="status")

    @operation(gives=PolicyProposalOut, refuses=(404, 412))
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Put the rules in force: another administrator than the one who proposed them."""
        self.body(NothingIn)
        services.confirm_policy(actor=self.actor, proposal=self.found(id))
        return self.answer(self.found(id))

    @operation(gives=PolicyProposalOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Drop a proposal; nothing changes."""
        self.body(NothingIn)
        services.drop_policy(actor=self.actor, proposal=self.found(id))
        return self.answer(self.found(id))
