"""Bodies of rows, read line by line: what cannot be read is told with its line, and nothing is guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.pushed import (
    MAX_DEPTH,
    PushedRow,
    UnreadableBodyError,
    parse_json,
    read_csv,
    read_lines,
    read_list,
)
from usage.models import QuarantineReason

GOOD = {
    "id": "a",
    "at": "2026-11-23T12:00:00Z",
    "key_id": "key_1",
    "model": "m",
    "usage": {"input_tokens": 1},
}
HEAD = "id,at,key_id,model,input_tokens,cache_hit"


def reasons(rows: Any) -> list[tuple[int, str | None]]:
    return [(row.line, row.reason) for row in rows]


def test_a_row_is_told_in_the_words_of_the_books() -> None:
    [row] = read_list([{**GOOD, "provider_id": "p", "project_id": "code", "finish": None}])

    assert row == PushedRow(
        line=1,
        row={
            "external_id": "a",
            "at": "2026-11-23T12:00:00Z",
            "key": "key_1",
            "project": "code",
            "model": "m",
            "provider_call_id": "p",
            "input_tokens": 1,
        },
    )


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    body = b"\xef\xbb\xbf" + b"\n".join([json.dumps(GOOD).encode(), b"", b"   ", b"nonsense", b"[1]"])

    assert reasons(read_lines(body)) == [
        (1, None),
        (4, QuarantineReason.MALFORMED),
        (5, QuarantineReason.MALFORMED),
    ]


def test_an_open_quote_spoils_its_own_line_only() -> None:
    body = f'{HEAD}\na,"2026,key,m,1,\nb,2026,key,m,1,true\nc,"x""y",key,"m,n",1,0'

    rows = list(read_csv(body.encode()))

    assert reasons(rows) == [(2, QuarantineReason.MALFORMED), (3, None), (4, None)]
    assert (rows[2].row["at"], rows[2].row["model"], rows[2].row["cache_hit"]) == ('x"y', "m,n", False)


def test_cells_of_csv_are_numbers_flags_or_what_they_are() -> None:
    cells = ["12", "-3", " 7 ", "1.5", "٣", "9" * 30, ""]
    body = "\n".join([HEAD, *(f"a,t,k,m,{cell}," for cell in cells), "a,t,k,m,1,maybe"])

    rows = list(read_csv(body.encode()))

    told = [row.row.get("input_tokens") for row in rows[:-1]]
    assert told == [12, -3, 7, "1.5", "٣", "9" * 30, None]
    assert rows[-1].detail == "cache_hit must be true or false."


@pytest.mark.parametrize(
    "head",
    ["", "id,at,key_id", "id,at,key_id,model,model", "id,at,key_id,model,cost_usd", '"id,at', "\xff"],
)
def test_a_head_that_does_not_name_the_columns_is_refused(head: str) -> None:
    with pytest.raises(UnreadableBodyError):
        read_csv(f"{head}\n1,2,3,4".encode("latin-1"))


def test_a_long_line_of_csv_is_too_long_and_not_an_error_of_the_reader() -> None:
    body = f"{HEAD}\na,t,k,{'m' * 200_000},1,\nb,t,k,m,1,"

    assert reasons(read_csv(body.encode())) == [(2, QuarantineReason.OVERSIZE), (3, None)]


def test_numbers_that_json_cannot_hold_come_as_texts() -> None:
    assert parse_json(b'{"a": NaN, "b": -Infinity, "c": 1e999, "d": 123456789012345678901234567890}') == {
        "a": "NaN",
        "b": "-Infinity",
        "c": "1e999",
        "d": "123456789012345678901234567890",
    }


@pytest.mark.parametrize(("levels", "is_read"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False), (100_000, False)])
def test_depth_is_limited(levels: int, is_read: bool) -> None:
    text = "[" * levels + "]" * levels
    if is_read:
        parse_json(text)
        return
    with pytest.raises((ValueError, RecursionError)):
        parse_json(text)


@pytest.mark.parametrize("usage", [None, [], "none", {"prompt_tokens": 5}])
def test_counts_that_nobody_reads_are_not_taken_for_none(usage: Any) -> None:
    [row] = read_list([{**GOOD, "usage": usage}])

    assert row.reason == QuarantineReason.MALFORMED
    assert row.detail.startswith("usage")


@given(st.binary(max_size=400))
def test_whatever_comes_each_line_is_read_or_refused(body: bytes) -> None:
    rows = [*read_lines(body), *read_csv(HEAD.encode() + b"\n" + body)]

    assert all(row.reason or row.row["external_id"] for row in rows if row.reason or "external_id" in row.row)
    json.dumps([row.row for row in rows])
