"""What gateways and their logs are called."""

from django.db.models import QuerySet

from gateway.models import Gateway, GatewayLog
from teams.models import User
from teams.selectors import require_admin


def gateway_names() -> dict[str, str]:
    """Return the name of each gateway by its public id, which is the source of its usage. One query."""
    return dict(Gateway.objects.values_list("public_id", "name"))


def source_names() -> dict[str, str]:
    """Return the name of each gateway and of each of their logs by its public id. Two queries."""
    logs = {log.public_id: str(log) for log in GatewayLog.objects.select_related("gateway")}
    return gateway_names() | logs


def serving_gateways() -> list[Gateway]:
    """Return the gateways that may ask for decisions, by name. One query."""
    return list(Gateway.objects.filter(disabled_at__isnull=True).order_by("name"))


def gateways_for(user: User) -> QuerySet[Gateway]:
    """Return every gateway, on and off, to administrators. Raises RoleNeededError."""
    require_admin(user, "see gateways")
    return Gateway.objects.order_by("name")
