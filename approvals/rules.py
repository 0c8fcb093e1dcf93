"""The terms of a policy as one value: what an administrator edits, proposes and confirms."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Self

from approvals.models import BREAK_GLASS_MOST_HOURS, AccessRequest, Policy, RequestKind
from approvals.policy import StageTerms, is_stricter
from core.errors import InvalidInputError
from core.money import format_usd
from teams.models import Role

MOST_DAYS = 365
MOST_QUORUM = 5
LONGEST_HOURS = 24 * 60
MOST_REASON_CHARACTERS = 1_000
MONEY_FIELDS = ("max_monthly_usd", "break_glass_cap_usd", "together_cap_usd")
LABELS = {
    "stages": "Who approves, in order",
    "default_days": "Days that are asked for unless said otherwise",
    "max_days": "Most days",
    "max_monthly_usd": "Most US dollars a month",
    "decide_within_hours": "Hours until an undecided request expires",
    "sla_hours": "Hours in which a decision should come",
    "escalation_role": "Who decides too when it is late",
    "told_role": "Who is told",
    "told_may_veto": "Whoever is told may deny",
    "min_reason_characters": "Shortest reason, in characters",
    "needs_ticket": "A ticket is needed",
    "auto_extend": "Extend equal access by a rule",
    "auto_spend_percent": "The rule extends while spend is below this percent of the budget",
    "auto_human_days": "The rule extends when a human approved in the last so many days",
    "break_glass_hours": "Hours of access in an emergency",
    "break_glass_cap_usd": "US dollars in an emergency",
    "together_cap_usd": "Most US dollars a month of a request that is approved together with others",
}

# A rule that means nothing as long as the other one is empty.
NEEDS = {
    "told_may_veto": "told_role",
    "auto_spend_percent": "auto_extend",
    "auto_human_days": "auto_extend",
    "break_glass_cap_usd": "break_glass_hours",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What `approvals.models.Policy` says of a tier; `stages` are pairs of a role and a quorum."""

    stages: tuple[tuple[str, int], ...]
    default_days: int
    max_days: int
    max_monthly_usd: Decimal | None
    decide_within_hours: int
    sla_hours: int
    escalation_role: str
    told_role: str
    told_may_veto: bool
    min_reason_characters: int
    needs_ticket: bool
    auto_extend: bool
    auto_spend_percent: int
    auto_human_days: int
    break_glass_hours: int
    break_glass_cap_usd: Decimal | None
    together_cap_usd: Decimal | None = None  # not in proposals that were made before it was a rule

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """Return the rules of a version."""
        values = {each.name: getattr(policy, each.name) for each in fields(cls)}
        stages = tuple((stage["role"], stage["quorum"]) for stage in policy.stages)
        return cls(**{**values, "stages": stages})

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Return what as_json() wrote."""
        money = {name: Decimal(kept[name]) if kept.get(name) else None for name in MONEY_FIELDS}
        stages = tuple((role, quorum) for role, quorum in kept["stages"])
        return cls(**{**kept, **money, "stages": stages})

    def as_json(self) -> dict[str, Any]:
        """Return the rules as a proposal keeps them."""
        money = {name: getattr(self, name) for name in MONEY_FIELDS}
        written = {name: None if usd is None else f"{usd:f}" for name, usd in money.items()}
        return {**asdict(self), **written, "stages": [list(stage) for stage in self.stages]}

    def as_fields(self) -> dict[str, Any]:
        """Return the rules as the fields of a policy."""
        stages = [{"role": role, "quorum": quorum} for role, quorum in self.stages]
        return {**asdict(self), "stages": stages}

    def stage_terms(self) -> list[StageTerms]:
        """Return the stages for the arithmetic of `approvals.policy`."""
        return [StageTerms(role=role, quorum=quorum, max_days=self.max_days) for role, quorum in self.stages]

    def asks_more_than(self, other: Self) -> bool:
        """Whether a request needs more under these rules beside the same stages: a ticket, a longer reason,
        fewer US dollars, the silence of somebody else who may deny.
        """
        most, most_before = self.max_monthly_usd, other.max_monthly_usd
        return (
            (self.needs_ticket and not other.needs_ticket)
            or self.min_reason_characters > other.min_reason_characters
            or (most is not None and (most_before is None or most < most_before))
            or (self.told_may_veto and (True, self.told_role) != (other.told_may_veto, other.told_role))
        )

    def reaches(self, request: AccessRequest) -> bool:
        """Whether a waiting request starts again under these rules: they are stricter than its own.

        The review of a broken glass is of what was done; of it only who decides can change.
        """
        before = type(self).of(request.policy)
        if is_stricter(self.stage_terms(), before.stage_terms()):
            return True
        return request.kind != RequestKind.BREAK_GLASS and self.asks_more_than(before)

    def lines(self) -> list[tuple[str, str]]:
        """Write the rules that mean something, each with its label."""
        shown = [name for name in LABELS if name not in NEEDS or getattr(self, NEEDS[name])]
        return [(LABELS[name], self.in_words(name)) for name in shown]

    def in_words(self, name: str) -> str:
        """Write one of the rules for people."""
        value = getattr(self, name)
        match value:
            case bool():
                return "yes" if value else "no"
            case tuple():
                return ", then ".join(
                    f"{Role(role).label.lower()} ({quorum} people)"
                    if quorum > 1
                    else Role(role).label.lower()
                    for role, quorum in value
                )
            case Decimal():
                return format_usd(value)
            case None:
                return "no limit" if name == "max_monthly_usd" else "none"
            case _ if name.endswith("role"):
                return Role(value).label.lower() if value else "nobody"
            case _:
                return str(value)


def in_force(request: AccessRequest) -> Policy | None:
    """Return the rules in force for what a request asks; None where nobody may ask for it any more.

    One query where those that it was made under were replaced, unless `tell_in_force` told them.
    """
    if request.policy.retired_at is None:
        return request.policy
    if "in_force" not in vars(request):
        tell_in_force([request])
    return request.in_force


def tell_in_force(requests: Iterable[AccessRequest]) -> dict[int, Policy]:
    """Let requests know the rules in force, and return these by tier. One query."""
    policies = {policy.tier_id: policy for policy in Policy.objects.filter(retired_at__isnull=True)}
    for request in requests:
        request.in_force = policies.get(request.tier_id)
    return policies


def missing_in(request: AccessRequest) -> str:
    """Say what a request does not have of what the rules ask for now; empty when it has all.

    Rules that became stricter start it again as it is, and it lacks no more than those in force ask for. The
    review of a broken glass misses nothing.
    """
    return missing_under(in_force(request), request)


def missing_under(rules: Policy | None, request: AccessRequest) -> str:
    """Say what a request does not have of what both its own rules and these ask for."""
    if request.kind == RequestKind.BREAK_GLASS:
        return ""
    each, missing = (request.policy, rules or request.policy), []
    if all(terms.needs_ticket for terms in each) and not request.ticket:
        missing.append("a ticket")
    least = min(terms.min_reason_characters for terms in each)
    if len(request.reason) < least:
        missing.append(f"a reason of {least} characters or more")
    return " and ".join(missing)


def difference(before: Rules, after: Rules) -> list[tuple[str, str, str]]:
    """Return what differs: label, before, after."""
    return [
        (label, before.in_words(name), after.in_words(name))
        for name, label in LABELS.items()
        if getattr(before, name) != getattr(after, name)
    ]


def record_of(before: Rules, after: Rules) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what differs as the record keeps it, by field: before and after, the stages in words."""
    was, now = before.as_json(), after.as_json()
    names = [name for name in LABELS if getattr(before, name) != getattr(after, name)]
    was["stages"], now["stages"] = before.in_words("stages"), after.in_words("stages")
    return {name: was[name] for name in names}, {name: now[name] for name in names}


def check_rules(rules: Rules, *, tier: int) -> None:
    """Refuse rules that cannot be, naming the field. Raises InvalidInputError."""
    for field, is_wrong, text in _wrongs(rules, tier):
        if is_wrong:
            raise InvalidInputError(text, field=field)


def _wrongs(rules: Rules, tier: int) -> list[tuple[str, bool, str]]:
    roles = [role for role, _ in rules.stages]
    cap, glass, several = rules.max_monthly_usd, rules.break_glass_cap_usd, rules.together_cap_usd
    return [
        ("stages", not roles, "Choose who approves: a tier above 1 needs somebody."),
        ("stages", len(set(roles)) < len(roles), "Name each role once, with the number of people."),
        (
            "stages",
            any(not 1 <= quorum <= MOST_QUORUM for _, quorum in rules.stages),
            f"Ask for 1 to {MOST_QUORUM} people at a stage.",
        ),
        ("max_days", not 1 <= rules.max_days <= MOST_DAYS, f"Enter 1 to {MOST_DAYS} days."),
        (
            "default_days",
            not 1 <= rules.default_days <= rules.max_days,
            "Enter at least 1 day, and no more than the most days.",
        ),
        (
            "decide_within_hours",
            not 2 <= rules.decide_within_hours <= LONGEST_HOURS,
            f"Enter 2 to {LONGEST_HOURS} hours.",
        ),
        (
            "sla_hours",
            not 2 <= rules.sla_hours <= rules.decide_within_hours,
            "Enter at least 2 hours, and no more than until the request expires.",
        ),
        (
            "escalation_role",
            rules.escalation_role in roles[1:],
            "Choose nobody, or a role that approves at no later stage: who steps in counts once.",
        ),
        ("max_monthly_usd", cap is not None and cap <= 0, "Enter more than zero, or leave it empty."),
        (
            "min_reason_characters",
            not 1 <= rules.min_reason_characters <= MOST_REASON_CHARACTERS,
            f"Enter 1 to {MOST_REASON_CHARACTERS} characters.",
        ),
        ("told_may_veto", rules.told_may_veto and not rules.told_role, "Choose who is told, and may deny."),
        ("auto_extend", rules.auto_extend and tier != 2, "A rule extends access in Tier 2 alone."),
        ("auto_spend_percent", not 1 <= rules.auto_spend_percent <= 100, "Enter 1 to 100 percent."),
        ("auto_human_days", not 1 <= rules.auto_human_days <= MOST_DAYS, f"Enter 1 to {MOST_DAYS} days."),
        (
            "together_cap_usd",
            several is not None and several <= 0,
            "Enter more than zero, or leave it empty.",
        ),
        ("together_cap_usd", several is not None and tier != 2, "Several are approved in Tier 2 alone."),
        (
            "break_glass_hours",
            not 0 <= rules.break_glass_hours <= BREAK_GLASS_MOST_HOURS,
            f"Enter 0, which forbids it, to {BREAK_GLASS_MOST_HOURS} hours.",
        ),
        (
            "break_glass_cap_usd",
            bool(rules.break_glass_hours) != (glass is not None and glass > 0),
            "Enter US dollars where emergencies have hours, and nothing where they have none.",
        ),
    ]
