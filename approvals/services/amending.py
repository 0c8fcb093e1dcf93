"""Changes a pending request: a new revision that starts at the first stage, under the policy in force now."""

from collections.abc import Collection
from decimal import Decimal

from django.db import transaction

from approvals.models import AccessRequest, RequestKind
from approvals.services.asking import Ask, check_ask, keep_policy
from approvals.services.asking import model_names as names_of_models
from approvals.services.common import locked, record, require_open, require_seen
from approvals.services.revising import end_if_over, start_again
from approvals.services.submitting import ASKED, facts
from approvals.services.withdrawing import require_requester
from core.errors import InvalidInputError
from teams.models import User


def amend(
    *,
    actor: User,
    request: AccessRequest,
    seen_revision: int,
    reason: str,
    expected_monthly_usd: Decimal,
    model_names: Collection[str] = (),
    duration_days: int | None = None,
    ticket: str = "",
) -> AccessRequest:
    """Replace what a pending request asks for; only its requester may. Earlier decisions stay, uncounted.

    An extension keeps its models. The clock to decide starts anew; nothing changes when nothing differs.
    Raises what submit() raises, ChangedSinceReadError when `seen_revision` is old, AlreadyDecidedError or
    GoneError when it is over.
    """
    end_if_over(request)
    with transaction.atomic():
        keep_policy(request.tier)
        mine = locked(request)
        require_requester(actor, mine)
        require_open(mine)
        require_seen(mine, seen_revision)
        if mine.kind == RequestKind.BREAK_GLASS:
            raise InvalidInputError(
                "The glass is broken: this review is of what was done, and stays as it is."
            )
        ask = check_ask(
            tier=mine.tier,
            model_names=names_of_models(mine.model_ids) if mine.extends_grant else model_names,
            reason=reason,
            duration_days=duration_days,
            expected_monthly_usd=expected_monthly_usd,
            ticket=ticket,
        )
        if all(getattr(mine, name) == getattr(ask, name) for name in ASKED):
            return mine
        before = facts(mine)
        _apply(mine, ask)
        after = facts(mine)
        changed = {name for name, value in after.items() if value != before[name]}
        record(
            actor,
            "request.amended",
            mine,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
        return mine


def _apply(request: AccessRequest, ask: Ask) -> None:
    for name in ASKED:
        setattr(request, name, getattr(ask, name))
    start_again(request, *ASKED)
