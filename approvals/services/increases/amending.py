"""Changes what a request for more of a budget asks for."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from approvals.models import BudgetRequest
from approvals.services.common import require_seen
from approvals.services.increases.asking import checked_wish, require_asker, start_again
from approvals.services.increases.common import asked_facts, locked_increase, record_increase, require_open
from approvals.services.increases.following import end_increase_if_over
from teams.models import User


def amend_increase(
    *,
    actor: User,
    request: BudgetRequest,
    seen_revision: int,
    limit_usd: Decimal,
    reason: str,
    until: datetime | None = None,
) -> BudgetRequest:
    """Change what a pending request asks for; only its requester may. The clock to decide starts anew.

    Nothing changes when nothing differs. Raises as amend() does.
    """
    end_increase_if_over(request)
    with transaction.atomic():
        mine = locked_increase(request)
        require_asker(actor, mine)
        require_open(mine)
        require_seen(mine, seen_revision)
        before = asked_facts(mine)
        mine.limit_usd, mine.reason = checked_wish(mine.budget, limit_usd, reason, until)
        mine.until = until
        if asked_facts(mine) == before:
            return mine
        start_again(mine, "limit_usd", "until", "reason")
        record_increase(actor, "budget_increase.amended", mine, before=before, after=asked_facts(mine))
        return mine
