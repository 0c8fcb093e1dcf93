"""What the machine draws from: calls near the edges of small budgets, usage of every kind, and times that
cross every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st

from tests.ledger.facts import Body

people = st.sampled_from(["ada", "ada", "ben", "dan"])
scopes = st.sampled_from([("key", "ada"), ("key", "ben"), ("project", "ranking"), ("team", "search")])
# A call of `small` holds about 0.0014: a tenth of a call, one, two and a half, ten, many; none; no limit.
amounts = st.sampled_from(["0.0014", "0.0035", "0.014", "0.00014", "0.2", "0.2", "0", None])
spans = st.sampled_from(
    [
        timedelta(seconds=1),
        timedelta(seconds=20),
        timedelta(seconds=61),
        timedelta(seconds=600),
        timedelta(seconds=661),
        timedelta(minutes=31),
        timedelta(hours=3),
        timedelta(hours=23),
        timedelta(days=4),
        timedelta(days=33),
    ]
)
OLD, NEW = timedelta(days=400), timedelta(0)
BUDGETS: Sequence[Body] = (
    {"scope": ("key", "ada"), "since": OLD},
    {"scope": ("key", "ada"), "window": "month", "only": "tier", "since": OLD},
    {"scope": ("key", "ben"), "roll_over": "unused", "time_zone": "Europe/Berlin", "since": OLD},
    {"scope": ("project", "ranking"), "mode": "soft", "since": NEW},
    {"scope": ("project", "ranking"), "only": "large", "since": OLD},
    {"scope": ("team", "search"), "window": "month", "roll_over": "debt", "since": OLD},
    {"scope": ("team", "search"), "roll_over": "unused", "time_zone": "America/New_York", "since": OLD},
    {
        "scope": ("team", "cards"),
        "window": "week",
        "window_anchor": 7,
        "time_zone": "Asia/Kolkata",
        "since": OLD,
    },
    {"scope": ("department", "search"), "window": "quarter", "since": OLD},
    {"scope": ("organisation", ""), "window": "fiscal_year", "window_anchor": 4, "since": OLD},
    {"scope": ("organisation", ""), "window": "lifetime", "mode": "notify", "since": OLD},
)
# Chosen so that the time of one request or token is exact in microseconds and in binary.
RATES: Sequence[Body] = (
    {"requests": 3, "tokens": None, "parallel": None},
    {"requests": None, "tokens": 3_840, "parallel": None},
    {"requests": 6, "tokens": 1_920, "parallel": 2},
    {"requests": None, "tokens": None, "parallel": 1},
    {"requests": None, "tokens": None, "parallel": None},
)


@st.composite
def _calls(draw: st.DrawFn) -> Body:
    call: Body = {
        "key": draw(st.sampled_from(["ada", "ada", "ada", "ben", "ben", "dan", "nobody"])),
        "model": draw(
            st.sampled_from(
                [
                    *["small"] * 6,
                    *["large"] * 4,
                    *["free", "zero", "unpriced", "vectors", "hearing", "painting", "speaking", "nothing"],
                ]
            )
        ),
        "input_bytes": draw(st.sampled_from([1_000, 1_000, 1, 0, 333, 1_499, 1_500, 4_999, 90_000])),
    }
    optional = {
        "max_output_tokens": st.sampled_from([None, 1, 39, 40, 100, 100, 599, 9_000]),
        "n": st.sampled_from([1, 2, 7]),
        "context": st.sampled_from(["standard", "batch", "fast"]),
        "units": st.sampled_from([None, {"second": 12.5}, {"image": 1}, {"character": 33, "second": 0}, {}]),
        "project_id": st.sampled_from([None, "ranking", "fraud"]),
    }
    for name in draw(st.sets(st.sampled_from(sorted(optional)), max_size=2)):
        call[name] = draw(optional[name])
    return call


@st.composite
def _usages(draw: st.DrawFn) -> Body:
    tokens = draw(st.sampled_from([(0, 0), (200, 50), (1_000, 100), (333, 7), (1_500, 600), (9_000, 2_000)]))
    usage: Body = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    settlement: Body = {"usage": usage, "finish": draw(st.sampled_from(["stop", "cancelled", "error"]))}
    kind = draw(st.sampled_from(["plain", "class", "parts", "units", "hit", "other", "estimated"]))
    if kind == "parts":
        usage["cached_tokens"], usage["cache_write_tokens"] = tokens[0] // 2, tokens[0] // 3
        usage["reasoning_tokens"] = tokens[1] // 2
    elif kind == "units":
        usage["units"] = draw(st.sampled_from([{"second": 12.5}, {"image": 3}, {"character": 77, "page": 1}]))
    elif kind == "hit":
        settlement["cache_hit"] = True
    elif kind == "other":
        settlement["served_model"] = draw(st.sampled_from(["small", "large", "free", "hearing", "nothing"]))
    elif kind == "class":
        settlement["served_context"] = draw(st.sampled_from(["standard", "batch", "batch", "fast", "scale"]))
    elif kind == "estimated":
        settlement["estimated"] = True
    return settlement


calls = _calls()
usages = _usages()
