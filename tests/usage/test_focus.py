"""The FOCUS export: every row of the roll-up, to the last digit, in a memory that does not grow with it."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import tracemalloc
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpRequest
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from core.spreadsheets import ROWS_A_PIECE, csv_pieces, csv_stream
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ApiKeyFactory
from tests.usage.books import book
from usage import focus
from usage.models import UsageDay
from usage.selectors import organisation_scope, organisation_today, this_month, totals
from usage.selectors.export import export_rows

# Source: the columns that FOCUS 1.0 calls mandatory or that we always have.
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip
STATM = Path("/proc/self/statm")
MOST_GROWTH_MEGABYTES = 12
# The row that is there, for so many keys more.
SAME_FOR_OTHER_KEYS = """
    INSERT INTO usage_day (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id,
      calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT day, 1000000 + number, owner_id, project_id, team_id, department_id, model_id, tier_id,
      1, 0.01, 10, 0, 0, 0, 0
    FROM usage_day, generate_series(1, %s) number
"""


def month() -> str:
    return f"{organisation_today():%Y-%m}"


def export(who: Visitor) -> list[dict[str, str]]:
    """Download this month."""
    response: Any = who.client.get(f"/reports/focus/{month()}/")
    assert response.streaming
    return list(csv.DictReader(StringIO(response.getvalue().decode())))


def test_rows_are_the_roll_up_to_the_last_digit(cast: Cast) -> None:
    today = organisation_today()
    key = ApiKeyFactory.create(name="=cmd", project=cast.ranking, owner=cast.ada)
    book(cast.ranking, cast.large, today, "12.345678901234", owner=cast.ada, key=key, input_tokens=900)
    book(cast.fraud, cast.frontier, today, "-3", calls=0, input_tokens=-10, output_tokens=0)

    rows = export(Visitor(cast.fay))

    assert set(rows[0]) >= MANDATORY
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("9.345678901234")
    assert (
        sum(Decimal(row["BilledCost"]) for row in rows)
        == totals(organisation_scope(), this_month(today)).cost_usd
    )
    ranking, fraud = rows
    assert ranking["SubAccountId"] == cast.ranking.public_id
    assert (ranking["ResourceId"], ranking["ResourceName"]) == (key.public_id, "'=cmd")
    assert (ranking["ConsumedQuantity"], ranking["ConsumedUnit"]) == ("1000.0", "Tokens")
    assert Decimal(ranking["ListUnitPrice"]) * Decimal(ranking["PricingQuantity"]) == Decimal(
        "12.345678901234"
    )
    assert json.loads(ranking["Tags"]) == {
        "cost_centre": cast.ranking.cost_centre,
        "department": "product",
        "owner": cast.ada.public_id,
        "project": "ranking",
        "team": "search",
        "tier": "2",
    }
    assert (ranking["ChargeClass"], fraud["ChargeClass"]) == ("", "Correction")


def test_days_are_those_of_the_organisation(cast: Cast, settings: Settings) -> None:
    settings.TIME_ZONE = "America/New_York"
    found = focus.rows(iter([made(cast, date(2026, 11, 20))]))
    row = dict(zip(focus.HEAD, next(found), strict=True))
    assert row["ChargePeriodStart"] == "2026-11-20T05:00:00Z"
    assert row["ChargePeriodEnd"] == "2026-11-21T05:00:00Z"
    assert row["BillingPeriodStart"] == "2026-11-01T04:00:00Z"  # summer time ends on that day


def made(cast: Cast, day: date) -> Any:
    book(cast.ranking, cast.large, day, "1")
    return next(export_rows(this_month(day)))


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "dan"])
def test_whoever_does_not_see_everything_gets_no_export(cast: Cast, who: str) -> None:
    assert Visitor(getattr(cast, who)).get(f"/reports/focus/{month()}/").status == 403


def test_command_writes_a_file(cast: Cast, tmp_path: Path) -> None:
    book(cast.ranking, cast.large, organisation_today(), "12.5")
    file = tmp_path / "focus.csv"
    call_command("focus_export", month=month(), output=file, verbosity=0)
    assert [row["BilledCost"] for row in csv.DictReader(StringIO(file.read_text()))] == ["12.500000000000"]
    with pytest.raises(CommandError, match="is no month"):
        call_command("focus_export", month="2026-13")


def test_memory_is_the_same_for_ten_times_the_rows(cast: Cast) -> None:
    few = peak_of_export(cast, 2_500)
    many = peak_of_export(cast, 25_000)
    assert many < 1.5 * few, (few, many)


def test_rows_are_read_from_a_cursor_at_the_server(cast: Cast) -> None:
    fill(cast, 5_000)
    with CaptureQueriesContext(connection):
        found = export_rows(this_month(organisation_today()))
        next(found)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE '_django_curs_%%'")
            assert cursor.fetchone() == (1,)
        found.close()  # type: ignore[attr-defined]  # a generator


def peak_of_export(cast: Cast, rows: int) -> int:
    """Return the most bytes that Python held while a month of so many rows was written out."""
    fill(cast, rows)
    tracemalloc.start()
    try:
        pieces = csv_pieces(focus.HEAD, focus.rows(export_rows(this_month(organisation_today()))))
        assert sum(piece.count("\r\n") for piece in pieces) == rows + 1
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read as Linux tells it")
@pytest.mark.timeout(900)  # a million rows take a minute, and more where other things run
@pytest.mark.parametrize("rows", [20_000, pytest.param(1_000_000, marks=pytest.mark.full)])
def test_page_sends_a_month_of_any_length_in_flat_memory(cast: Cast, rows: int) -> None:
    fill(cast, rows)
    response = Visitor(cast.fay).client.get(f"/reports/focus/{month()}/")
    lines, resident = 0, []
    for piece in response:
        lines += piece.count(b"\r\n")
        resident.append(resident_megabytes())

    assert lines == rows + 1
    start, most = resident[2], max(resident)
    print(f"{rows:,} rows: {start:.0f} MB after the third piece, {most:.0f} MB at most")
    assert most < start + MOST_GROWTH_MEGABYTES


def resident_megabytes() -> float:
    """Return what this process holds in memory."""
    pages = int(STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def fill(cast: Cast, rows: int) -> None:
    """Fill the day with so many rows, one for each key."""
    UsageDay.objects.all().delete()
    book(cast.ranking, cast.large, organisation_today(), "0.000001")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(SAME_FOR_OTHER_KEYS, [rows - 1])
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")


def test_server_sends_a_piece_before_it_reads_the_next() -> None:
    """Under ASGI Django reads a plain iterator to its end before it sends anything."""
    read: list[int] = []

    def rows() -> Iterator[tuple[int]]:
        for number in range(3 * ROWS_A_PIECE):
            read.append(number)
            yield (number,)

    async def first_piece() -> str:
        response = csv_stream(asgi_request(), "numbers", ("number",), rows())
        assert response.is_async
        async for piece in response:
            return bytes(piece).decode()
        return ""

    piece = asyncio.run(first_piece())
    assert piece.startswith("number\r\n0\r\n1\r\n")
    assert len(read) <= ROWS_A_PIECE + 1


def asgi_request() -> HttpRequest:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    return ASGIRequest(scope, BytesIO())


@pytest.mark.parametrize("rows", [0, 1, ROWS_A_PIECE, ROWS_A_PIECE + 1])
def test_pieces_are_the_whole_table(rows: int) -> None:
    pieces = list(csv_pieces(("a", "b"), (("=1", number) for number in range(rows))))
    found = list(csv.reader(StringIO("".join(pieces))))
    assert found == [["a", "b"], *(["'=1", str(number)] for number in range(rows))]
    assert len(pieces) == max(1, -(-rows // ROWS_A_PIECE))
