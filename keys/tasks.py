"""Jobs of keys."""

from celery import shared_task

from keys.services.noticing import tell_of_expiring_grants, tell_of_expiring_keys


@shared_task(name="keys.tell_of_expiring", time_limit=120, soft_time_limit=100)
def tell_of_expiring() -> int:
    """Tell owners which keys and grants are about to end."""
    return tell_of_expiring_keys() + tell_of_expiring_grants()
