"""Makes the demo organisation with a long history: calls by the hundred thousand, as a gateway's log tells.

They are booked by the bulk ingest, page by page, each in a transaction of its own; so an interrupted run
leaves an unfinished database behind, which is no use.
"""

from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import Any

from django.db import connection, transaction

from catalog.models import LlmModel
from catalog.services import import_prices
from core import clock
from core.progress import Progress
from gateway.models import GatewayKind
from gateway.services import register_gateway
from portal.demo import access, limits, prices, provider
from portal.demo.history import History, tell
from portal.demo.people import make_organisation
from portal.demo.seed import OVER_BUDGET, RECONCILED_DAYS, Seeded, reconcile, refuse
from portal.demo.spend import SpendOfBooks
from usage.selectors.periods import organisation_today
from usage.services import IngestCounts
from usage.services.bulk import import_pages

PAGE_ROWS = 10_000
# The gateway's own record of the last days: what these are compared with.
JOURNAL = """
    INSERT INTO usage_gateway_call (source, external_id, at, pulled_at, model_name, finish, cache_hit,
      released, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT e.source, e.external_id, e.at, e.recorded_at, m.name, e.finish, e.cache_hit, false,
      e.input_tokens, e.cached_tokens, e.cache_write_tokens, e.output_tokens, e.reasoning_tokens
    FROM usage_event e JOIN catalog_llmmodel m ON m.id = e.model_id WHERE e.source = %s AND e.at >= %s
"""
STATISTICS = "ANALYZE usage_call, usage_day, usage_hour, usage_gateway_call, budgets_entry, budgets_balance"


def seed_history(*, password: str, days: int, calls: int, seed: int) -> Seeded:
    """Make Northwind with so many calls in so many days up to now; a bar shows how far it is.

    The database must have nobody in it.
    """
    now = clock.now()
    history = History(until=now, days=days, calls=calls, seed=seed)
    with transaction.atomic():
        made = make_organisation(password=password, now=now)
        import_prices(actor=made.ann)
        prices.agree_on_contract(actor=made.ann, now=now)
        gateway = register_gateway(actor=made.ann, name="local", kind=GatewayKind.LITELLM, base_url="")
        keys = access.make_keys(made, now, days=days)
        planner = limits.Planner(made, keys=keys, days=days, now=now)
        planner.open_all()
    models = {model.name: model for model in LlmModel.objects.all()}
    counts = _book(gateway.public_id, tell(history, keys=keys, models=models), calls)
    with transaction.atomic():
        caps = planner.limit_all(SpendOfBooks(today=organisation_today(now)))
        access.grant_tiers(made, keys, caps, now)
        refuse(keys[OVER_BUDGET], now)
        limits.raise_one_today(made)
        access.ask_today(made)
        provider.tell_figures(actor=made.ann, gateway=gateway, now=now)
        prices.price_again(actor=made.ann, now=now)
        since = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        with connection.cursor() as cursor:
            cursor.execute(JOURNAL, [gateway.public_id, since - timedelta(days=RECONCILED_DAYS)])
            cursor.execute(STATISTICS)
        reconcile(gateway, read=counts.read, newest=now, now=now)
    return Seeded(people=len(made.people), projects=len(made.projects), calls=counts.booked)


def _book(source: str, rows: Iterable[Any], calls: int) -> IngestCounts:
    """Book every row, a page at a time."""
    total = IngestCounts()
    with Progress("Calls", total=calls) as bar:
        for counts in import_pages(source=source, rows=rows, page_rows=PAGE_ROWS):
            total.add(counts)
            bar.advance(counts.booked)
    return total
