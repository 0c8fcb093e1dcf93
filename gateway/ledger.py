"""The rule that joins the ledger to the gateways: every call came from one that is known."""

# ruff: noqa: S608 - every part of a query is a constant of this code

from core.books import Rule
from usage.selectors.ledger import BY_HOUR, WITHIN

SOURCES = Rule(
    name="source_is_a_gateway",
    cut=BY_HOUR,
    query=f"""
    SELECT subject, format('came from %%s, which is no gateway', source) FROM (
      SELECT public_id AS subject, source FROM budgets_reservation WHERE authorized_at >= %(since)s
        AND {WITHIN.format("authorized_at")}
      UNION ALL SELECT public_id, source FROM budgets_lease WHERE opened_at >= %(since)s
        AND {WITHIN.format("opened_at")}
      UNION ALL SELECT external_id, source FROM usage_event WHERE recorded_at >= %(since)s
        AND {WITHIN.format("at")}
    ) named WHERE source NOT IN (SELECT public_id FROM gateway_gateway) ORDER BY 1
    """,
)
RULES = (SOURCES,)
