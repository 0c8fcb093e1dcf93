"""The one rule that approves without a human: an equal extension in Tier 2, where the policy turns it on."""

from decimal import Decimal

import structlog
from django.db import connection, transaction

from approvals.eligibility import stages_of
from approvals.models import AccessRequest
from approvals.services.finishing import finish_by_rule
from budgets.models import ScopeKind
from budgets.selectors import budget_rows, open_budgets_above
from budgets.types import ScopePlace
from core.errors import DomainError
from keys.models import Grant

log = structlog.get_logger(__name__)


def approve_by_rule(request: AccessRequest) -> AccessRequest:
    """Approve a new extension if its policy lets a rule do it; return the request either way.

    Never in Tier 3: the rule asks the same function as the trigger that guards it. Where the grant cannot be
    given, because a budget above has no room for its cap, the request waits for a human, who sees why.
    """
    if request.policy.auto_extend and _is_equal(request) and _spends_little(request):
        try:
            with transaction.atomic():
                finish_by_rule(request)
        except DomainError as refusal:
            request.by_rule = False
            log.info("request.not_extended_by_rule", request=request.public_id, why=refusal.code)
    return request


def _is_equal(request: AccessRequest) -> bool:
    """Whether a human approved the same not long ago, as the database itself answers."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT approvals_rule_may_extend(r) FROM approvals_accessrequest r WHERE r.id = %s", [request.pk]
        )
        (may,) = cursor.fetchone()
    grant: Grant | None = request.extends_grant
    longest = min(stage.max_days for stage in stages_of(request))
    same_cap = grant is not None and grant.monthly_cap_usd == request.expected_monthly_usd
    return bool(may) and same_cap and request.duration_days <= longest


def _spends_little(request: AccessRequest) -> bool:
    """Whether every limited budget above the key has spent less than the policy's share."""
    project, key = request.project, request.extends_key
    assert key is not None
    place = ScopePlace(
        kind=ScopeKind.KEY,
        id=key.pk,
        project_id=project.pk,
        team_id=project.team_id,
        department_id=project.team.department_id,
    )
    rows = budget_rows(open_budgets_above(place))
    share = Decimal(request.policy.auto_spend_percent)
    return all(row.spent_percent is None or row.spent_percent < share for row in rows)
