"""How tiers, models and prices look in the API. A price for a unit has fifteen decimals, as it is kept."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.models import (
    Context,
    Mode,
    PriceProposal,
    PriceSource,
    ProposalKind,
    ProposalState,
    Provider,
    Unit,
)
from catalog.proposals import moves_of
from core.reasons import MOST_CHARACTERS
from core.rest.fields import Moment, PublicId, QueryNumber, Text, Usd, WholeNumber
from core.rest.serializers import In, NamedOut, Out, PageQuery

UNIT_PLACES = 15
MOST_TOKENS = 2_000_000_000
BY_HAND = [(source, source.label) for source in (PriceSource.CONTRACT, PriceSource.MANUAL)]
HIGHEST_TIER = 9


def for_one(help_text: str = "US dollars for one, not for a million.") -> Usd:
    """Return a field for the price of one unit that may be left out."""
    return Usd(places=UNIT_PLACES, required=False, help_text=help_text)


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
    """A model at today's prices; without a price its calls are refused, unless it is free."""

    id = serializers.CharField(source="model.public_id")
    name = serializers.CharField(help_text="What callers send.")
    aliases = serializers.ListField(child=serializers.CharField(), help_text="Other names of it.")
    provider = serializers.ChoiceField(Provider.choices, source="model.provider")
    mode = serializers.ChoiceField(Mode.choices)
    tier = serializers.IntegerField()
    context_window_tokens = serializers.IntegerField(source="context_tokens")
    max_output_tokens = serializers.IntegerField(allow_null=True)
    priced = serializers.BooleanField()
    free = serializers.BooleanField(
        source="model.declared_free", help_text="An administrator said that it costs nothing."
    )
    per_million_tokens = PricesOut(source="*")


class UnpricedModelOut(NamedOut):
    """A model whose calls are refused because no price is in force, and how many were."""

    provider = serializers.ChoiceField(Provider.choices)
    mode = serializers.ChoiceField(Mode.choices)
    tier = serializers.IntegerField(source="tier_id")
    refused_calls = serializers.IntegerField()
    first_refused_at = Moment(allow_null=True)
    last_refused_at = Moment(allow_null=True)


class ModelPricesIn(In):
    """What one unit of a model costs in US dollars, where it has no price, and where that is from.

    A chat needs input and output, an embedding input; the others one of what they are sold by.
    """

    input = for_one()
    output = for_one()
    cached = for_one("Without it cached input is charged like other input.")
    request = for_one()
    second = for_one()
    character = for_one()
    image = for_one()
    reason = Text(max_length=MOST_CHARACTERS)


class ModelFreeIn(In):
    """Why a model costs nothing; kept in the audit."""

    reason = Text(max_length=MOST_CHARACTERS)


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


class PriceCreateIn(In):
    """A price of one model that beats the list, and why it is this one."""

    model = PublicId("mdl")
    source = serializers.ChoiceField(BY_HAND, help_text="A contract beats a manual price.")  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    unit = serializers.ChoiceField(Unit.choices)
    context = serializers.ChoiceField(Context.choices, default=Context.STANDARD)  # type: ignore[assignment]  # as above
    tier_start = WholeNumber(
        min_value=0,
        max_value=MOST_TOKENS,
        default=0,
        help_text="Total input tokens from which the price applies.",
    )
    usd_per_unit = Usd(places=UNIT_PLACES, help_text="For one token, second or image: not for a million.")
    valid_from = Moment(required=False, help_text="Now unless said; calls of the past keep their charge.")
    valid_until = Moment(required=False)
    reason = Text(max_length=MOST_CHARACTERS)


class PriceEndIn(In):
    """When and why a price ends that somebody entered."""

    ends_at = Moment(required=False, help_text="Now unless said.")
    reason = Text(max_length=MOST_CHARACTERS)


class MoveOut(Out):
    """What one unit of a model costs before and after, in US dollars for one; null is no price."""

    model = serializers.CharField(help_text="The name that callers send.")
    unit = serializers.ChoiceField(Unit.choices)
    context = serializers.CharField()  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    tier_start = serializers.IntegerField()
    at = Moment()
    before = Usd(places=UNIT_PLACES, source="before_usd", allow_null=True)
    after = Usd(places=UNIT_PLACES, source="after_usd", allow_null=True)


class PriceProposalOut(Out):
    """A change of prices: in force at once, or waiting for another administrator than who proposed it."""

    id = serializers.CharField(source="public_id")
    kind = serializers.ChoiceField(ProposalKind.choices)
    title = serializers.CharField()
    moves = serializers.SerializerMethodField()
    source_version = serializers.CharField(help_text="The price list that it follows, if it does.")
    reason = serializers.CharField()
    needs_second = serializers.BooleanField(help_text="Somebody else must approve it.")
    state = serializers.ChoiceField(ProposalState.choices)
    proposed_by = NamedOut(allow_null=True)
    proposed_at = Moment()
    ended_by = NamedOut(allow_null=True)
    ended_at = Moment(allow_null=True)
    answer = serializers.CharField(help_text="Why it was rejected.")

    @extend_schema_field(MoveOut(many=True))
    def get_moves(self, proposal: PriceProposal) -> Any:
        """What would be charged, as whoever approves it sees it."""
        return MoveOut(moves_of(proposal.difference), many=True).data


class PriceListOut(Out):
    """What following the price list did, or would do."""

    version = serializers.CharField(help_text="Of the list, as it is installed.")
    added_models = serializers.ListField(child=serializers.CharField())
    at_once = MoveOut(many=True, source="moves_at_once", help_text="Prices that move by at most 20 %.")
    to_approve = MoveOut(
        many=True, source="moves_to_approve", help_text="All prices of models of which one moves further."
    )
    unpriced_models = serializers.ListField(child=serializers.CharField(), source="unpriced")
    proposal = PriceProposalOut(
        source="waiting", allow_null=True, help_text="What another administrator must approve."
    )


class PriceRejectIn(In):
    """Why a proposal is rejected; kept with it."""

    reason = Text(max_length=MOST_CHARACTERS)


class PriceProposalQuery(PageQuery):
    """Which proposals to list."""

    state = serializers.ChoiceField(ProposalState.choices, required=False)


class LlmModelQuery(PageQuery):
    """Which models to list."""

    tier = QueryNumber(required=False, min_value=1, max_value=HIGHEST_TIER)


class PriceQuery(PageQuery):
    """Which prices to list."""

    model = PublicId("mdl", required=False)
    unit = serializers.ChoiceField(Unit.choices, required=False)
    source = serializers.ChoiceField(PriceSource.choices, required=False)  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    valid_at = Moment(required=False, help_text="Those in force at this moment.")
