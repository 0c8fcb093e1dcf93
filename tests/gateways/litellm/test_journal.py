"""The gateway's journal keeps every line in one order, through rotation, crashes and several writers."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.plugins.litellm.purser_plugin.journal import (
    CursorError,
    Journal,
    Position,
    decode_cursor,
    encode_cursor,
)


def journal(directory: Path, *, file_bytes: int = 1_000_000) -> Journal:
    """Return the journal of a state directory."""
    return Journal(directory, file_bytes=file_bytes)


def line(number: int) -> bytes:
    """Return a journal line."""
    return json.dumps({"id": f"rsv_{number}", "kind": "settle"}).encode()


def ids(found: Journal, position: Position | None = None, *, limit: int = 1_000) -> list[str]:
    """Return the ids after a position."""
    return [str(item["id"]) for item in found.read(position or Position(), limit=limit).items]


def test_lines_come_back_in_the_order_they_were_written(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.append([line(1), line(2)])
    written.append([line(3)])
    assert ids(written) == ids(journal(tmp_path)) == ["rsv_1", "rsv_2", "rsv_3"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 40), limit=st.integers(1, 9), file_bytes=st.integers(40, 400))
def test_pages_of_any_size_over_any_rotation_give_every_line_once(
    tmp_path: Path, count: int, limit: int, file_bytes: int
) -> None:
    directory = tmp_path / f"{count}-{limit}-{file_bytes}"
    written = journal(directory, file_bytes=file_bytes)
    for number in range(count):
        written.append([line(number)])
    found, position, has_more = [], Position(), True
    while has_more:
        page = written.read(decode_cursor(encode_cursor(position)), limit=limit)
        found += [item["id"] for item in page.items]
        position, has_more = page.position, page.has_more
    assert found == [f"rsv_{number}" for number in range(count)]


def test_a_page_asked_again_is_the_same_though_more_was_written(tmp_path: Path) -> None:
    written = journal(tmp_path, file_bytes=60)
    written.append([line(1)])
    first = written.read(Position(), limit=2)
    written.append([line(2), line(3)])
    assert [item["id"] for item in written.read(Position(), limit=1).items] == [first.items[0]["id"]]
    assert ids(written, first.position) == ["rsv_2", "rsv_3"]


def test_a_torn_last_line_is_skipped_and_closed(tmp_path: Path) -> None:
    journal(tmp_path).append([line(1)])
    path = tmp_path / "journal" / "00000001.jsonl"
    with path.open("ab") as file:
        file.write(b'{"id": "rsv_torn')
    assert ids(journal(tmp_path)) == ["rsv_1"]
    journal(tmp_path).append([line(2)])
    assert ids(journal(tmp_path)) == ["rsv_1", "rsv_2"]


def test_files_are_private_and_rotated_by_size(tmp_path: Path) -> None:
    written = journal(tmp_path, file_bytes=100)
    for number in range(9):
        written.append([line(number)])
    files = sorted((tmp_path / "journal").iterdir())
    assert len(files) > 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_old_delivered_files_are_pruned_and_a_cursor_to_them_goes_on(tmp_path: Path) -> None:
    written = journal(tmp_path, file_bytes=20)
    for number in range(4):
        written.append([line(number)])
    month_ago = time.time() - 40 * 86_400
    for path in (tmp_path / "journal").iterdir():
        os.utime(path, (month_ago, month_ago))
    assert written.prune(older_than_days=35, delivered=Position(3, 0)) == 2
    assert ids(written, Position(1, 10)) == ["rsv_2", "rsv_3"]


def test_a_full_disk_is_told_to_the_writer(tmp_path: Path) -> None:
    Path(tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "00000001.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        journal(tmp_path).append([line(1)])


def write_many(directory: str, writer: int) -> None:
    """Append lines as one of several workers."""
    mine = journal(Path(directory), file_bytes=2_000)
    for number in range(100):
        mine.append([line(writer * 1_000 + number)])


def test_several_workers_write_one_journal_without_losing_a_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(str(tmp_path), number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    found = ids(journal(tmp_path))
    assert sorted(found) == sorted(
        f"rsv_{writer * 1_000 + number}" for writer in range(3) for number in range(100)
    )


@pytest.mark.parametrize("text", ["!", "e30", "WzFd", "Wy0xLDBd", "WyJhIiwwXQ", "x" * 200])
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        decode_cursor(text)


def test_positions_are_remembered(tmp_path: Path) -> None:
    written = journal(tmp_path)
    assert written.load_position("delivered") == Position()
    written.save_position("delivered", Position(3, 44))
    assert journal(tmp_path).load_position("delivered") == Position(3, 44)


def test_one_process_at_a_time_delivers(tmp_path: Path) -> None:
    first, second = journal(tmp_path), journal(tmp_path)
    with (
        first.lock("deliver", wait=False),
        pytest.raises(BlockingIOError),
        second.lock("deliver", wait=False),
    ):
        pass
    with second.lock("deliver", wait=False):
        pass
