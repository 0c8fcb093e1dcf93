"""How tiers, models and prices look in the API. A price for a unit has fifteen decimals, as it is kept."""

from rest_framework import serializers

from catalog.models import Context, Mode, PriceSource, Provider, Unit
from core.rest.fields import Moment, PublicId, QueryNumber, Usd
from core.rest.serializers import NamedOut, Out, PageQuery

UNIT_PLACES = 15
HIGHEST_TIER = 9


class TierOut(Out):
    """A tier: what it is for and how much output its calls get when they name no limit."""

    number = serializers.IntegerField()
    name = serializers.CharField()
    description = serializers.CharField()
    default_max_output_tokens = serializers.IntegerField()
    floor_max_output_tokens = serializers.IntegerField()


class PricesOut(Out):
    """US dollars for a million tokens now, in the standard class and below every long-context step."""

    input_usd = Usd(allow_null=True)
    cached_usd = Usd(allow_null=True)
    output_usd = Usd(allow_null=True)


class LlmModelOut(Out):
    """A model that may be called, at today's prices; without a price its calls are refused."""

    id = serializers.CharField(source="model.public_id")
    name = serializers.CharField(help_text="What callers send.")
    aliases = serializers.ListField(child=serializers.CharField(), help_text="Other names of it.")
    provider = serializers.ChoiceField(Provider.choices, source="model.provider")
    mode = serializers.ChoiceField(Mode.choices)
    tier = serializers.IntegerField()
    context_window_tokens = serializers.IntegerField(source="context_tokens")
    max_output_tokens = serializers.IntegerField(allow_null=True)
    priced = serializers.BooleanField()
    per_million_tokens = PricesOut(source="*")


class PriceOut(Out):
    """A dated price; rows are never edited."""

    id = serializers.CharField(source="public_id")
    model = NamedOut()
    unit = serializers.ChoiceField(Unit.choices)
    context = serializers.ChoiceField(Context.choices)  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    tier_start = serializers.IntegerField(help_text="Total input tokens from which the price applies.")
    usd_per_unit = Usd(places=UNIT_PLACES)
    valid_from = Moment()
    valid_until = Moment(allow_null=True)
    source = serializers.ChoiceField(PriceSource.choices)  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    source_version = serializers.CharField()
    recorded_at = Moment()


class LlmModelQuery(PageQuery):
    """Which models to list."""

    tier = QueryNumber(required=False, min_value=1, max_value=HIGHEST_TIER)


class PriceQuery(PageQuery):
    """Which prices to list."""

    model = PublicId("mdl", required=False)
    unit = serializers.ChoiceField(Unit.choices, required=False)
    source = serializers.ChoiceField(PriceSource.choices, required=False)  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    valid_at = Moment(required=False, help_text="Those in force at this moment.")
