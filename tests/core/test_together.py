"""Questions that are asked in one statement have the answers that they have alone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count, F, QuerySet, Sum, Value
from django.test.utils import CaptureQueriesContext

from core import clock
from core.together import ask_together
from teams.models import FormerName, NamedKind, Project
from tests.cast import Cast
from tests.usage.books import book
from usage.models import UsageDay
from usage.selectors.periods import organisation_today


def questions() -> dict[str, QuerySet[Any, Any]]:
    """Return questions with amounts, days, moments, other columns' names, nothing, and a union."""
    days = UsageDay.objects.order_by("-day", "model_id")
    sums: Any = days.values("day", model_name=F("model__name"))
    names = Project.objects.order_by("name").values("name")
    return {
        "sums": sums.annotate(usd=Sum("cost_usd"), rows=Count("pk")),
        "names": FormerName.objects.values("used_until", "name", "kind", "object_id"),
        "none": UsageDay.objects.filter(cost_usd__lt=-1).values("cost_usd"),
        "never": UsageDay.objects.filter(pk__in=[]).values("cost_usd"),
        "both": names.annotate(rank=Value(1)).union(names.annotate(rank=Value(0))).order_by("rank", "name"),
    }


def test_answers_are_those_of_each_question_alone_in_their_order(cast: Cast) -> None:
    today = organisation_today()
    book(cast.ranking, cast.frontier, today, "90.000000000001")
    book(cast.ranking, cast.large, today, "0")
    book(cast.fraud, cast.large, today - timedelta(days=1), "7")
    FormerName.objects.create(kind=NamedKind.TEAM, object_id=1, name='A "100 %" név', used_until=clock.now())

    with CaptureQueriesContext(connection) as captured:
        together = ask_together(**questions())

    assert len(captured) == 1
    assert together == {name: list(question) for name, question in questions().items()}
    assert Decimal("90.000000000001") in [row["usd"] for row in together["sums"]]
    assert {type(row["usd"]) for row in together["sums"]} == {Decimal}
    assert together["never"] == together["none"] == []
