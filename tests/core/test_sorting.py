"""What an address says about the order of a table, and what becomes of it in rows, queries and heads."""

from __future__ import annotations

import pytest
from django.db.models import F
from django.db.models.expressions import OrderBy
from django.test import RequestFactory

from core.sorting import Head, Order, SqlColumn, Table

TABLE = Table(
    usual="-spent",
    heads=(
        Head(label="Name", sort="name"),
        Head(label="State"),
        Head(label="Spent", sort="spent", numeric=True),
    ),
)
ROWS = (("a", 1), ("b", None), ("c", 2), ("d", 1))


def asked(query: str) -> Order:
    return TABLE.order(RequestFactory().get(f"/list/?{query}"))


@pytest.mark.parametrize("query", ["", "sort=", "sort=nonsense", "sort=--spent", "sort=state", "sort=-State"])
def test_what_no_column_is_called_means_the_usual_order(query: str) -> None:
    assert asked(query) == Order(name="spent", falls=True)


def test_the_address_names_a_column_and_its_way() -> None:
    assert asked("sort=name") == Order(name="name", falls=False)
    assert asked("sort=-name") == Order(name="name", falls=True)


@pytest.mark.parametrize(("falls", "names"), [(False, "adcb"), (True, "cadb")])
def test_rows_without_a_value_stand_last_and_equal_ones_as_they_stood(falls: bool, names: str) -> None:
    found = Order(name="spent", falls=falls).of(ROWS, {"spent": lambda row: row[1]})

    assert "".join(name for name, _ in found) == names


def test_a_query_ends_with_what_breaks_ties() -> None:
    columns: dict[str, SqlColumn] = {"name": "name", "spent": F("cost_usd")}

    assert Order(name="name", falls=True).sql(columns, "-made", "pk") == ("-name", "-made", "pk")
    by, tie = Order(name="spent", falls=False).sql(columns, "pk")
    assert isinstance(by, OrderBy)
    assert (by.descending, by.nulls_last, tie) == (False, True, "pk")


def test_a_head_turns_its_order_around_and_keeps_the_filters_but_not_the_page() -> None:
    request = RequestFactory().get("/list/?sort=name&p=7d&page=3&foreign=1")

    name, state, spent = TABLE.columns(request, ("p", "sort"))

    assert (name.url, name.sorted) == ("/list/?p=7d&sort=-name", "ascending")
    assert (state.url, state.sorted) == ("", "")
    assert (spent.url, spent.sorted) == ("/list/?p=7d", ""), "the usual order is not written"
