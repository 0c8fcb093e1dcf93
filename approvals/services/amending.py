"""Changes a pending request: a new revision that starts at the first stage, under the policy in force now."""

from collections.abc import Collection
from decimal import Decimal

from django.db import transaction

from approvals import policy
from approvals.eligibility import who_can
from approvals.models import AccessRequest
from approvals.services.asking import Ask, check_ask, pin_stages
from approvals.services.common import locked, record, require_open, require_seen
from approvals.services.mails import tell_approvers
from approvals.services.submitting import facts
from approvals.services.withdrawing import require_requester
from core import clock
from teams.models import User

CHANGEABLE = ("model_ids", "reason", "duration_days", "expected_monthly_usd", "policy")


@transaction.atomic
def amend(
    *,
    actor: User,
    request: AccessRequest,
    seen_revision: int,
    reason: str,
    expected_monthly_usd: Decimal,
    model_names: Collection[str] = (),
    duration_days: int | None = None,
) -> AccessRequest:
    """Replace what a pending request asks for; only its requester may. Earlier decisions stay, uncounted.

    The clock to decide starts anew; nothing changes when nothing differs. Raises what submit() raises,
    ChangedSinceReadError when `seen_revision` is old, AlreadyDecidedError or GoneError when it is over.
    """
    mine = locked(request)
    require_requester(actor, mine)
    require_open(mine)
    require_seen(mine, seen_revision)
    ask = check_ask(
        tier=mine.tier,
        model_names=model_names,
        reason=reason,
        duration_days=duration_days,
        expected_monthly_usd=expected_monthly_usd,
    )
    if all(getattr(mine, name) == getattr(ask, name) for name in CHANGEABLE):
        return mine
    before = facts(mine)
    _apply(mine, ask)
    pin_stages(mine, ask.policy)
    after = facts(mine)
    changed = {name for name, value in after.items() if value != before[name]}
    record(
        actor,
        "request.amended",
        mine,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
    tell_approvers(mine, who_can(mine))
    return mine


def _apply(request: AccessRequest, ask: Ask) -> None:
    for name in CHANGEABLE:
        setattr(request, name, getattr(ask, name))
    request.revision += 1
    request.stage_index = 0
    request.decide_by = policy.deadline(clock.now(), ask.policy.decide_within_hours)
    request.save(update_fields=[*CHANGEABLE, "revision", "stage_index", "decide_by"])
