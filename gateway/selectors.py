"""What gateways are called."""

from gateway.models import Gateway


def gateway_names() -> dict[str, str]:
    """Return the name of each gateway by its public id, which is the source of its usage. One query."""
    return dict(Gateway.objects.values_list("public_id", "name"))
