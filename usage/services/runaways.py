"""The alarm clock's part of the breaker. Settlements suspend a key that runs away themselves
this looks again at keys of which nothing settles any more, or that were locked when they did.
"""

from django.db import connection, transaction

WATCH_SQL = """
WITH recent AS (SELECT DISTINCT key_id FROM usage_key_minute WHERE minute > now() - interval '10 minutes')
SELECT usage_stop_runaways(ARRAY(SELECT key_id FROM recent), now())
"""


@transaction.atomic
def stop_runaways() -> int:
    """Suspend the keys that run away, and return how many."""
    with connection.cursor() as cursor:
        cursor.execute(WATCH_SQL)
        stopped: int = cursor.fetchone()[0]
    return stopped


@transaction.atomic
def join_minutes() -> int:
    """Join minutes that no rule looks at any more to their hours, and return how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_join_minutes(clock_timestamp())")
        joined: int = cursor.fetchone()[0]
    return joined
