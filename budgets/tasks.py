"""The alarm clock's side of budgets. All may run twice."""

from celery import shared_task

from budgets.services.rollover import true_up_carry as true_up


@shared_task(name="budgets.true_up_carry")
def true_up_carry() -> dict[str, int]:
    """Correct what windows passed on to the next where calls settled after their end."""
    return {"corrected": true_up()}
