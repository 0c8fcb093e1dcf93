"""A hundred thousand keys in some seconds: copies of one key with all that belongs to it, made in SQL."""

from typing import Any

from django.db import connection

from keys import secrets
from keys.models import ApiKey

COPY = """
    INSERT INTO {table} SELECT copy.* FROM {source},
      LATERAL jsonb_populate_record(original, jsonb_build_object(
        'id', nextval(pg_get_serial_sequence('{table}', 'id')), {changes})) copy
    WHERE {where}
"""
# In this order: a row names rows that were copied before it. Copied keys have ids over `last`, the newest.
COPIES = (
    {
        "table": "keys_apikey",
        "source": "keys_apikey original, unnest(%(digests)s::bytea[]) WITH ORDINALITY d (digest, number)",
        "changes": "'public_id', 'key_copy' || number, 'secret_hmac', digest",
        "where": "original.id = %(key)s",
    },
    {
        "table": "budgets_budget",
        "source": "budgets_budget original, keys_apikey k",
        "changes": "'public_id', 'bdg_' || original.id || '_' || k.id, 'scope_id', k.id",
        "where": "original.scope_kind = 'key' AND original.scope_id = %(key)s AND k.id > %(last)s",
    },
    {
        "table": "budgets_budgetlimit",
        "source": "budgets_budgetlimit original JOIN budgets_budget o ON o.id = original.budget_id"
        ' JOIN budgets_budget b ON b.scope_kind = o.scope_kind AND b."window" = o."window"',
        "changes": "'budget_id', b.id",
        "where": "o.scope_kind = 'key' AND o.scope_id = %(key)s AND b.scope_id > %(last)s",
    },
    {
        "table": "budgets_ratelimit",
        "source": "budgets_ratelimit original, keys_apikey k",
        "changes": "'public_id', 'rtl_copy' || k.id, 'scope_id', k.id",
        "where": "original.scope_kind = 'key' AND original.scope_id = %(key)s AND k.id > %(last)s",
    },
    {
        "table": "keys_grant",
        "source": "keys_grant original, keys_apikey k",
        "changes": "'public_id', 'grn_copy' || k.id, 'key_id', k.id, 'source_request', 'copy' || k.id",
        "where": "original.key_id = %(key)s AND k.id > %(last)s",
    },
)
BALANCES = """
    INSERT INTO budgets_balance (budget_id, window_start, window_end, spent_usd, reserved_usd)
    SELECT b.id, w.window_start, w.window_end, 0, 0
    FROM budgets_budget b, budgets_window(b."window", b.window_anchor, b.time_zone, clock_timestamp()) w
    WHERE b.scope_kind = 'key' AND b.scope_id > %(last)s
"""


def of_key(key: ApiKey, *, count: int, called: int) -> tuple[str, ...]:
    """Copy a key so many times and return the secrets of `called` of the copies, evenly among all."""
    tokens = {number * count // called: secrets.new_token() for number in range(called)}
    digests = [
        secrets.sign(tokens[number])[1] if number in tokens else number.to_bytes(32)
        for number in range(count)
    ]
    newest = ApiKey.objects.order_by("-pk").values_list("pk", flat=True)[0]
    values: dict[str, Any] = {"digests": digests, "key": key.pk, "last": newest}
    with connection.cursor() as cursor:
        # A copied grant has no request behind it, which the database would refuse. It is weight in a table.
        cursor.execute("ALTER TABLE keys_grant DISABLE TRIGGER USER")
        for copy in COPIES:
            cursor.execute(COPY.format(**copy), values)
        cursor.execute("ALTER TABLE keys_grant ENABLE TRIGGER USER")
        cursor.execute(BALANCES, values)
    return tuple(tokens.values())
