"""The alarm clock's side of the gateways: read what each of them has finished."""

from celery import shared_task

from gateway import services
from gateway.adapters.litellm import LiteLlmJournal
from gateway.models import Gateway
from usage.services import pull_source


@shared_task(name="gateway.forget_nonces")
def forget_nonces() -> int:
    """Forget the nonces of signatures that are too old to be accepted again."""
    return services.forget_nonces()


@shared_task(name="gateway.pull_usage")
def pull_usage() -> dict[str, int]:
    """Pull every gateway that has an address and return how many rows each booked.

    A gateway that is down stops no other.
    """
    gateways = Gateway.objects.filter(disabled_at__isnull=True).exclude(base_url="").order_by("pk")
    return {gateway.name: pull_source(source=LiteLlmJournal(gateway)).booked for gateway in gateways}
