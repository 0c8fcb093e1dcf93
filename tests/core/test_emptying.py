"""After a test that committed, the database is what the migrations made of it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection

from catalog.models import Price, Tier
from teams.models import User
from tests import emptying
from tests.cast import make_cast

GUARDS_OFF = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'D'"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("most_bytes", [emptying.MOST_BYTES_TO_DELETE, 0], ids=["deleted", "truncated"])
def test_rows_of_the_migrations_are_back_and_others_are_gone(
    most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emptying, "MOST_BYTES_TO_DELETE", most_bytes)
    tiers, permissions = list(Tier.objects.order_by("number").values()), Permission.objects.count()
    make_cast()
    Tier.objects.filter(number=1).update(name="Renamed")

    emptying.restore()

    assert list(Tier.objects.order_by("number").values()) == tiers
    assert Permission.objects.count() == permissions > 0
    assert not User.objects.exists()
    assert not Price.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_append_only_tables_are_guarded_again() -> None:
    make_cast()
    emptying.restore()
    make_cast()
    with pytest.raises(DatabaseError, match="prices are dated"):
        Price.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(GUARDS_OFF)
        assert cursor.fetchone() == (0,)
