"""Work that takes longer than a job may goes on from where it was left, whatever ended the run before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import pytest
import time_machine
from django.db import OperationalError, connection, transaction

from core import clock, walks
from core.deadline import OverTimeError, ends_within, seconds_left
from core.models import Walk
from core.walks import Place

NIGHT = datetime(2026, 12, 2, 2, 40, tzinfo=UTC)
BEGINS = time(2, 40)


class Counting:
    """Counts to three, a step each; remembers what it was told at the end."""

    def __init__(self) -> None:
        self.steps = 0
        self.told: list[Place] = []

    def step(self, place: Place) -> bool:
        place["at"] = place.get("at", 0) + 1
        self.steps += 1
        return bool(place["at"] == 3)

    def ended(self, place: Place, at: datetime) -> None:
        self.told.append(dict(place))

    def go_on(self) -> Place | None:
        return walks.go_on("counting", begins=BEGINS, step=self.step, ended=self.ended)


@pytest.fixture
def one_step_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_left(seconds: float | None = None) -> Callable[[], bool]:
        return iter([True, False]).__next__

    monkeypatch.setattr(clock, "time_left", time_left)


@pytest.mark.django_db
def test_a_round_is_gone_in_one_run_where_there_is_time() -> None:
    counting = Counting()
    assert counting.go_on() == {"at": 3}
    assert counting.told == [{"at": 3}]
    assert counting.go_on() is None
    assert counting.steps == 3


@pytest.mark.django_db
@pytest.mark.usefixtures("one_step_a_run")
def test_each_run_goes_on_where_the_one_before_stopped_and_the_end_is_told_once() -> None:
    counting = Counting()
    assert [counting.go_on() for _ in range(5)] == [None, None, {"at": 3}, None, None]
    assert counting.steps == 3
    assert len(counting.told) == 1


@pytest.mark.django_db
def test_a_round_begins_once_a_night() -> None:
    counting = Counting()
    with time_machine.travel(NIGHT - timedelta(minutes=1), tick=False):
        assert counting.go_on() == {"at": 3}
    with time_machine.travel(NIGHT, tick=False):
        assert counting.go_on() == {"at": 3}
        assert counting.go_on() is None
    with time_machine.travel(NIGHT + timedelta(hours=23), tick=False):
        assert counting.go_on() is None
    with time_machine.travel(NIGHT + timedelta(days=3), tick=False):
        assert counting.go_on() == {"at": 3}


@pytest.mark.django_db
@pytest.mark.usefixtures("one_step_a_run")
def test_a_killed_step_is_gone_again_and_nothing_of_it_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    counting.go_on()
    gone = counting.step

    def killed(place: Place) -> bool:
        gone(place)
        raise KeyboardInterrupt

    monkeypatch.setattr(counting, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        counting.go_on()
    assert Walk.objects.get().place == {"at": 1}
    monkeypatch.undo()
    assert counting.go_on() == {"at": 3}


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_not_go_the_same_step() -> None:
    counting = Counting()
    Walk.objects.create(name="counting")
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT FROM core_walk WHERE name = 'counting' FOR NO KEY UPDATE")
        assert counting.go_on() is None
        assert counting.steps == 0
    finally:
        other.rollback()
        other.close()
    assert counting.go_on() == {"at": 3}


def statement_timeout() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        found: str = cursor.fetchone()[0]
    return found


@pytest.mark.django_db(transaction=True)
def test_a_statement_gets_what_is_left_and_is_ended_by_the_database() -> None:
    before = statement_timeout()
    with ends_within(0.3):
        assert int(statement_timeout().removesuffix("ms")) <= 300
        with pytest.raises(OverTimeError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")
        with pytest.raises(OverTimeError):
            statement_timeout()
    assert statement_timeout() == before
    assert seconds_left() == float("inf")


@pytest.mark.django_db(transaction=True)
def test_an_inner_end_only_shortens_unless_it_begins_anew() -> None:
    with ends_within(5):
        with ends_within(60):
            assert seconds_left() <= 5
        with ends_within(1):
            assert seconds_left() <= 1
        with ends_within(60, anew=True):
            assert seconds_left() > 50
        assert 1 < seconds_left() <= 5


@pytest.mark.django_db(transaction=True)
def test_what_fails_otherwise_stays_what_it_is() -> None:
    failing = pytest.raises(OperationalError)
    with ends_within(5), failing as failed, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$")
    assert not isinstance(failed.value, OverTimeError)
