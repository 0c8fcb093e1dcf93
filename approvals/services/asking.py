"""Checks what is asked for, and pins the terms under which it will be decided; shared by submit and amend."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from approvals import policy
from approvals.eligibility import role_phrase
from approvals.errors import NobodyCanApproveError
from approvals.models import AccessRequest, Policy, Stage
from catalog.models import LlmModel, Tier
from core.errors import InvalidInputError
from core.money import format_usd, quantise
from core.reasons import checked_purpose
from keys.models import ApiKey
from keys.selectors import DEFAULT_TIER, USABLE
from teams.models import Project, Role, User
from teams.selectors import RoleHolders, approvers_for, names_of, role_holders

MIN_REASON_CHARACTERS = 10  # what a new policy asks for
MAX_REASON_CHARACTERS = 2_000
TICKET_PATTERN = r"\A(?:[A-Za-z][A-Za-z0-9_]{0,30}-[0-9]{1,10}|https://[^\s<>\"]{1,190})\Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A checked wish: models (none means all of the tier), why, for how long, at what cost a month."""

    policy: Policy
    model_ids: list[int]
    reason: str
    ticket: str
    duration_days: int
    expected_monthly_usd: Decimal


def policy_for(tier: Tier) -> Policy:
    """Return the policy in force for a tier. Raises InvalidInputError when nobody may ask for it."""
    if tier.number == DEFAULT_TIER:
        raise InvalidInputError("Tier 1 needs no approval. Issue a key on the Keys page.", field="tier")
    found = Policy.objects.filter(tier=tier, retired_at__isnull=True).first()
    if found is None:
        raise InvalidInputError(f"{tier} has no policy yet. Ask an administrator to make one.", field="tier")
    return found


def keep_policy(tier: Tier) -> None:
    """Let no other policy of a tier come into force before the transaction ends.

    It comes before the lock of a request, as where a policy is confirmed.
    """
    in_force = Policy.objects.filter(tier=tier, retired_at__isnull=True)
    locks = in_force.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)
    if locks.first() is None:
        locks.first()  # who waited while another one came into force finds that at the second look


def check_ask(
    *,
    tier: Tier,
    model_names: Collection[str],
    reason: str,
    duration_days: int | None,
    expected_monthly_usd: Decimal,
    ticket: str = "",
) -> Ask:
    """Return the wish when the policy in force allows it. Who writes it down calls keep_policy() first.

    Raises InvalidInputError with the field that is wrong and what to enter instead.
    """
    terms = policy_for(tier)
    return Ask(
        policy=terms,
        model_ids=_model_ids(tier, model_names),
        reason=_reason(reason, terms),
        ticket=_ticket(ticket, terms),
        duration_days=_days(terms.default_days if duration_days is None else duration_days, terms),
        expected_monthly_usd=_expected(expected_monthly_usd, terms),
    )


def check_key(key: ApiKey | None, *, owner: User, project: Project) -> None:
    """Refuse a key that a grant could not be added to, as it is now. Raises InvalidInputError."""
    if key is None:
        return
    own = ApiKey.objects.filter(pk=key.pk, owner=owner, project=project).first()
    if own is None or own.state not in USABLE:
        raise InvalidInputError(
            f"Choose one of your own live keys of {project}, or ask for a new key.", field="extends_key"
        )


def pin_stages(request: AccessRequest, terms: Policy) -> list[Stage]:
    """Write the stages that this revision must pass, and return them. Raises as passable_stages() does."""
    stages = passable_stages(request, terms, role_holders(request.project))
    return Stage.objects.bulk_create(
        Stage(
            request=request,
            revision=request.revision,
            index=index,
            role=stage.role,
            quorum=stage.quorum,
            max_days=stage.max_days,
        )
        for index, stage in enumerate(stages)
    )


def passable_stages(request: AccessRequest, terms: Policy, holders: RoleHolders) -> list[policy.StageTerms]:
    """Return the stages that a request must pass under these terms, as its people stand now.

    Raises NobodyCanApproveError naming the missing role when they could not be passed by distinct people.
    """
    here = holders.for_project(request.project)
    asked = [
        policy.StageTerms(role=stage["role"], quorum=stage["quorum"], max_days=terms.max_days)
        for stage in terms.stages
    ]
    stages = policy.stages_for(asked, here, request.askers)
    missing = policy.missing_role(stages, here, request.askers)
    if missing:
        _refuse_without(missing, request)
    return stages


def _refuse_without(role: str, request: AccessRequest) -> None:
    admins = [
        person for person in approvers_for(Role.ADMIN, request.project) if person.pk not in request.askers
    ]
    raise NobodyCanApproveError(
        f"{request.tier} needs {role_phrase(role, request)}, and nobody else holds that role now."
        f" Ask {names_of(admins)} to name somebody, then ask again.",
        role=role,
    )


def _model_ids(tier: Tier, names: Collection[str]) -> list[int]:
    wanted = set(names)
    found = dict(
        LlmModel.objects.filter(tier=tier, name__in=wanted, retired_at__isnull=True).values_list("name", "pk")
    )
    unknown = sorted(wanted - found.keys())
    if unknown:
        raise InvalidInputError(
            f"{', '.join(unknown)}: not a model of {tier}. Choose from the list of {tier} models.",
            field="models",
        )
    return sorted(found.values())


def _reason(reason: str, terms: Policy) -> str:
    return checked_purpose(
        reason,
        purpose="what you need it for and why a cheaper tier will not do",
        least=terms.min_reason_characters,
        most=MAX_REASON_CHARACTERS,
    )


def _ticket(ticket: str, terms: Policy) -> str:
    text = ticket.strip()
    if terms.needs_ticket and not text:
        raise InvalidInputError(f"Enter the ticket that this is for: {terms.tier} needs one.", field="ticket")
    if text and not re.match(TICKET_PATTERN, text):
        raise InvalidInputError(
            "Enter a ticket such as SEARCH-123, or its address beginning with https://.", field="ticket"
        )
    return text


def _days(days: int, terms: Policy) -> int:
    if not 1 <= days <= terms.max_days:
        raise InvalidInputError(
            f"Enter 1 to {terms.max_days} days: that is the most for {terms.tier}.", field="duration_days"
        )
    return days


def _expected(amount: Decimal, terms: Policy) -> Decimal:
    most = terms.max_monthly_usd
    if not amount.is_finite() or amount <= 0 or (most is not None and amount > most):
        limit = f" up to {format_usd(most)}, the most for {terms.tier}" if most is not None else ""
        raise InvalidInputError(
            f"Enter the US dollars that you expect to spend in a month, above zero{limit}.",
            field="expected_monthly_usd",
        )
    return quantise(amount)


def model_names(model_ids: Sequence[int]) -> list[str]:
    """Return the names of models for a mail or an audit row."""
    return list(LlmModel.objects.filter(pk__in=model_ids).order_by("name").values_list("name", flat=True))
