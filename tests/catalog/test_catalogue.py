"""What the Models page reads."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries

from catalog import selectors, services
from catalog.models import LlmModel

pytestmark = pytest.mark.django_db
DAY = datetime(2026, 11, 23, tzinfo=UTC)


def test_tiers_list_their_models_from_the_cheapest_with_multiples_against_it() -> None:
    services.import_prices(actor=None)

    page = selectors.catalogue(at=DAY)

    assert [tier.title for tier in page.tiers] == [
        "Tier 1: Everyday",
        "Tier 2: Project",
        "Tier 3: Experimental",
    ]
    cheapest = page.tiers[0].models[0]
    assert (cheapest.name, cheapest.times_reference) == (page.reference_model, Decimal(1))
    assert cheapest.input_usd == Decimal("0.1")
    astra = next(model for model in page.tiers[2].models if model.name == "gpt-6-astra")
    assert (astra.input_usd, astra.cached_usd, astra.output_usd) == (Decimal(10), Decimal(1), Decimal(50))
    assert astra.times_reference == 100
    embedding = page.tiers[0].models[-1]
    assert (embedding.mode, embedding.output_usd, embedding.times_reference) == ("embedding", None, None)


def test_a_model_without_a_price_is_listed_last_and_marked() -> None:
    services.import_prices(actor=None)
    LlmModel.objects.create(
        name="brand-new", provider="openai", provider_model="brand-new", tier_id=2,
        context_window_tokens=1_000, max_output_tokens=100,
    )  # fmt: skip

    listed = selectors.catalogue(at=DAY).tiers[1].models[-1]

    assert (listed.name, listed.priced, listed.input_usd) == ("brand-new", False, None)
    assert [model.name for model in selectors.unpriced_models(at=DAY)] == ["brand-new"]


def test_the_page_reads_a_fixed_number_of_times(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    services.import_prices(actor=None)

    with django_assert_num_queries(3):
        selectors.catalogue(at=DAY)


def test_an_empty_catalogue_is_three_empty_tiers() -> None:
    page = selectors.catalogue(at=DAY)

    assert [tier.models for tier in page.tiers] == [(), (), ()]
    assert page.reference_model is None


def test_a_model_is_found_by_name_and_by_alias_until_it_is_retired() -> None:
    services.import_prices(actor=None)

    by_alias = selectors.find_model("gpt-4o-2024-08-06")
    assert by_alias is not None
    assert by_alias.name == "gpt-4o"
    LlmModel.objects.filter(name="gpt-4o").update(retired_at=DAY)
    assert selectors.find_model("gpt-4o") is None
    assert selectors.find_model("gpt-4o-2024-08-06") is None
