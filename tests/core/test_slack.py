"""Messages to Slack: within its limits whatever people are called, and nothing in them is markup."""

from __future__ import annotations

import pytest

from core import slack
from tests.fakes.slack import faults

VALUE = "req_" + "x" * 18 + ":1"


@pytest.mark.parametrize("text", ["", "Ada", "x" * 10_000, "\N{GRINNING FACE}" * 5_000, "é" * 151, " "])
def test_no_name_or_text_is_too_long_for_slack(text: str) -> None:
    message = slack.blocks(
        subject=f"{text} asks", body=text, address=f"https://purser.example/approvals/{VALUE}/", approve=VALUE
    )
    assert faults(message) == []


def test_fault_of_a_message_is_seen() -> None:
    message = slack.blocks(subject="x", body="x", address="https://purser.example/", approve=VALUE)
    message[0]["text"]["text"] = "x" * 151
    message[2]["elements"][0]["value"] = "x" * 2_001
    message[2]["elements"][0]["confirm"]["deny"]["text"] = "x" * 31
    assert [fault.split(" has ")[0] for fault in faults(message)] == [
        "header.text",
        "button.value",
        "confirm.deny",
    ]
    assert faults(message[1:2] * 51) == ["51 blocks"]


def test_text_that_is_cut_says_so() -> None:
    head, body, _ = slack.blocks(subject="s" * 200, body="b" * 4_000, address="https://purser.example/")
    assert head["text"]["text"] == "s" * 149 + "…"
    assert body["text"]["text"] == "b" * 2_999 + "…"


def test_what_fits_is_left_alone() -> None:
    head, body, _ = slack.blocks(subject="s" * 150, body="b" * 3_000, address="https://purser.example/")
    assert (head["text"]["text"], body["text"]["text"]) == ("s" * 150, "b" * 3_000)


def test_markup_is_escaped_where_slack_reads_it() -> None:
    assert slack.escaped("<!channel> & <https://evil.example|here>") == (
        "&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;"
    )
