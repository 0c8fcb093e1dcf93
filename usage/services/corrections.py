"""Corrects what calls were charged: by entries of their own, and the figures of every page follow at once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal

import orjson
import structlog
from django.conf import settings
from django.db import connection, transaction

from core.errors import InvalidInputError
from core.reasons import checked_reason
from teams.models import User

log = structlog.get_logger(__name__)

# One statement books so many; a larger run is cut into batches, each a transaction of its own.
MOST_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """By how much one charged call was wrong: what must be added, negative where it was too much.

    `source`, `external_id` and `at` name its event of usage. Amounts in US dollars, unrounded to cents.
    """

    source: str
    external_id: str
    at: datetime
    amount_usd: Decimal
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    units: Mapping[str, Decimal] = field(default_factory=dict)
    price_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """What became of one correction: `corrected` with the public id of its entry, `duplicate`, `unknown`."""

    status: str
    entry: str | None


@transaction.atomic
def correct_calls(
    *, actor: User | None, ref: str, reason: str, corrections: Sequence[Correction]
) -> list[Corrected]:
    """Book corrections in one transaction and return what became of each, in their order.

    `ref` names the run that corrects, in at most 40 characters (a public id): one run corrects a call once,
    so running it again books nothing. Entry, usage, its sums by day and hour, and the balances of the windows
    in which the calls were made move together. The caller writes down who decided it. A call that never
    settled cannot be corrected: settle it. Raises InvalidInputError for more than MOST_AT_ONCE, or without a
    reason.
    """
    if len(corrections) > MOST_AT_ONCE:
        raise InvalidInputError(f"At most {MOST_AT_ONCE:,} calls are corrected at once. Cut the run.")
    text = checked_reason(reason, kept="it stands in the ledger")
    if not corrections:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT status, entry FROM usage_correct(%s, %s, %s, %s::jsonb, %s) ORDER BY place",
            [
                ref,
                actor.pk if actor else None,
                text,
                orjson.dumps([asdict(each) for each in corrections], default=str).decode(),
                settings.TIME_ZONE,
            ],
        )
        found = [Corrected(status=status, entry=entry) for status, entry in cursor.fetchall()]
    booked = sum(each.status == "corrected" for each in found)
    log.info("usage.corrected", ref=ref, corrected=booked, asked=len(corrections))
    return found
