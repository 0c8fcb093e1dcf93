"""How the rules of tiers look in the API, what is proposed in their place, what that would have done."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from approvals.models import Policy, PolicyProposal, ProposalStatus
from approvals.rules import MOST_QUORUM, Rules
from approvals.services.ruling import MAX_REASON_CHARACTERS
from core.rest.fields import Flag, Moment, Text, Usd, WholeNumber
from core.rest.serializers import In, NamedOut, Out, PageQuery
from teams.models import Role

DECIDES = [(role.value, role.label) for role in (Role.LEAD, Role.DIRECTOR, Role.FINANCE, Role.ADMIN)]
NOBODY_OR = [("", "Nobody"), *DECIDES]
MOST_STAGES = 3
HIGHEST = 32_767  # what the columns hold; the rules allow far less


class PolicyStageOut(Out):
    """Who must agree at a stage, and how many of them."""

    role = serializers.ChoiceField(Role.choices)
    quorum = serializers.IntegerField()


class RulesOut(Out):
    """The rules of a tier."""

    stages = PolicyStageOut(many=True)
    default_days = serializers.IntegerField()
    max_days = serializers.IntegerField()
    max_monthly_usd = Usd(allow_null=True, help_text="Null is no limit.")
    decide_within_hours = serializers.IntegerField(help_text="Until an undecided request expires.")
    sla_hours = serializers.IntegerField(help_text="In which a decision should come.")
    escalation_role = serializers.CharField(help_text="Who decides too when it is late; empty is nobody.")
    told_role = serializers.CharField(help_text="Who is told; empty is nobody.")
    told_may_veto = serializers.BooleanField()
    min_reason_characters = serializers.IntegerField()
    needs_ticket = serializers.BooleanField()
    auto_extend = serializers.BooleanField()
    auto_spend_percent = serializers.IntegerField()
    auto_human_days = serializers.IntegerField()
    break_glass_hours = serializers.IntegerField(help_text="0 is never.")
    break_glass_cap_usd = Usd(allow_null=True)
    together_cap_usd = Usd(allow_null=True, help_text="Of each of several approved together; null is never.")


class PolicyOut(Out):
    """A version of the rules of a tier. One without `retired_at` is in force; no version ever changes."""

    id = serializers.CharField(source="public_id")
    tier = serializers.IntegerField(source="tier_id")
    version = serializers.IntegerField()
    rules = serializers.SerializerMethodField()
    created_at = Moment()
    created_by = NamedOut(allow_null=True)
    confirmed_by = NamedOut(allow_null=True)
    retired_at = Moment(allow_null=True)
    note = serializers.CharField()

    @extend_schema_field(RulesOut)
    def get_rules(self, policy: Policy) -> Mapping[str, Any]:
        """The rules of this version."""
        return _shown(Rules.of(policy))


class PolicyProposalOut(Out):
    """Other rules in place of `base`; null rules say that nobody may ask for the tier any more."""

    id = serializers.CharField(source="public_id")
    tier = serializers.IntegerField(source="tier_id")
    status = serializers.ChoiceField(ProposalStatus.choices)
    base = serializers.CharField(source="base.public_id")
    rules = serializers.SerializerMethodField()
    reason = serializers.CharField()
    proposed_by = NamedOut()
    proposed_at = Moment()
    ended_by = NamedOut(allow_null=True)
    ended_at = Moment(allow_null=True)
    policy = serializers.CharField(source="policy.public_id", allow_null=True, help_text="What it became.")

    @extend_schema_field(RulesOut(allow_null=True))
    def get_rules(self, proposal: PolicyProposal) -> Mapping[str, Any] | None:
        """The rules that are proposed."""
        return _shown(Rules.from_json(proposal.rules)) if proposal.rules else None


class EffectOut(Out):
    """One request that would have gone otherwise."""

    request = serializers.CharField(source="request.public_id")
    text = serializers.CharField(help_text="How, and why.")


class WhatIfOut(Out):
    """How the requests of the last 90 days would have gone under other rules."""

    requests = serializers.IntegerField()
    same = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="When they were asked.")
    later = serializers.IntegerField(help_text="More people would have had to agree.")
    impossible = serializers.IntegerField(help_text="Nobody could have approved them.")
    expired = serializers.IntegerField(help_text="Not decided in time.")
    effects = EffectOut(many=True, help_text="The first of those that differ.")


class PolicyQuery(PageQuery):
    """Which versions to list."""

    in_force = serializers.ChoiceField([("yes", "Yes")], required=False)


class PolicyProposalQuery(PageQuery):
    """Which proposals to list."""

    status = serializers.ChoiceField(ProposalStatus.choices, required=False)


class PolicyStageIn(In):
    """Who must agree at a stage, and how many of them."""

    role = serializers.ChoiceField(DECIDES)
    quorum = WholeNumber(min_value=1, max_value=MOST_QUORUM)


class RulesIn(In):
    """All the rules of a tier, as they shall be."""

    stages = serializers.ListField(child=PolicyStageIn(), min_length=1, max_length=MOST_STAGES)
    default_days = WholeNumber(min_value=0, max_value=HIGHEST)
    max_days = WholeNumber(min_value=0, max_value=HIGHEST)
    max_monthly_usd = Usd(allow_null=True)
    decide_within_hours = WholeNumber(min_value=0, max_value=HIGHEST)
    sla_hours = WholeNumber(min_value=0, max_value=HIGHEST)
    escalation_role = serializers.ChoiceField(NOBODY_OR)
    told_role = serializers.ChoiceField(NOBODY_OR)
    told_may_veto = Flag()
    min_reason_characters = WholeNumber(min_value=0, max_value=HIGHEST)
    needs_ticket = Flag()
    auto_extend = Flag()
    auto_spend_percent = WholeNumber(min_value=0, max_value=HIGHEST)
    auto_human_days = WholeNumber(min_value=0, max_value=HIGHEST)
    break_glass_hours = WholeNumber(min_value=0, max_value=HIGHEST)
    break_glass_cap_usd = Usd(allow_null=True)
    together_cap_usd = Usd(allow_null=True, default=None)


class PolicySimulateIn(In):
    """Rules to set the last 90 days against."""

    rules = RulesIn()


class PolicyProposeIn(In):
    """Rules to propose, or null to propose that nobody may ask for the tier any more."""

    rules = RulesIn(allow_null=True)
    reason = Text(max_length=MAX_REASON_CHARACTERS)


def rules_from(values: dict[str, Any]) -> Rules:
    """Return what a body says as rules."""
    stages = tuple((stage["role"], stage["quorum"]) for stage in values["stages"])
    return Rules(**{**values, "stages": stages})


def _shown(rules: Rules) -> Mapping[str, Any]:
    return RulesOut(rules.as_fields()).data
