"""The demo organisation: its books balance, and every page has something to say."""

import time
from pathlib import Path

import pytest
from django.core.management import call_command

from budgets.selectors import unbalanced_balances

pytestmark = pytest.mark.django_db


def test_try(tmp_path: Path) -> None:
    start = time.perf_counter()
    call_command("seed_demo", password="x" * 12, sign_ins=tmp_path / "a")
    print("seconds", time.perf_counter() - start)
    assert unbalanced_balances() == []
    from usage import selectors
    from teams.models import User

    for who in ("ben", "fay", "eve"):
        page = selectors.overview(selectors.scope_for(User.objects.get(email=f"{who}@northwind.example")))
        print(page.figures)
        print(page.breach)
        for row in page.projects:
            print(row.name, row.tier, row.status, row.spent_usd, row.limit_usd, row.spent_percent, row.forecast_usd)
        print(page.models)
        print(page.freshness)
    assert 0
