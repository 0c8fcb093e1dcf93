"""Jobs of keys."""

from celery import shared_task

from keys.services.noticing import tell_of_expiring_grants, tell_of_expiring_keys
from keys.services.suspending import tell_of_suspensions


@shared_task(name="keys.tell_of_expiring")
def tell_of_expiring() -> int:
    """Tell owners which keys and grants are about to end."""
    return tell_of_expiring_keys() + tell_of_expiring_grants()


@shared_task(name="keys.tell_of_suspensions")
def tell_of_runaways() -> int:
    """Tell people of the keys that the breaker suspended."""
    return tell_of_suspensions()
