"""What a gateway is in the API, and what is said when it is switched."""

from rest_framework import serializers

from core.reasons import MOST_CHARACTERS
from core.rest.fields import Moment, Text
from core.rest.serializers import In, Out
from gateway.models import Gateway, GatewayKind


class GatewayOut(Out):
    """Who asks for decisions; its secret is in no answer."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    kind = serializers.ChoiceField(GatewayKind.choices)
    base_url = serializers.CharField(help_text="Where its journal is read; empty where it keeps none.")
    live_secrets = serializers.SerializerMethodField()
    created_at = Moment()
    disabled_at = Moment(allow_null=True)

    def get_live_secrets(self, gateway: Gateway) -> int:
        """Return how many secrets are accepted: the newest one, and the one before it."""
        return len(gateway.live_versions)


class GatewayReasonIn(In):
    """Why."""

    reason = Text(max_length=MOST_CHARACTERS)
