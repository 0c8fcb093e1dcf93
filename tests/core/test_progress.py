"""The bar on a terminal: it says how far something is, and nothing where nobody looks."""

from __future__ import annotations

from io import StringIO

from core.progress import Progress


class Terminal(StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_is() -> None:
    terminal = Terminal()

    with Progress("Calls", total=2_000, stream=terminal) as bar:
        bar.advance(500)
        bar.advance(1_500)

    *_, last = terminal.getvalue().split("\r")
    assert last.startswith(f"Calls [{'#' * 32}] 100% 2,000 of 2,000, ")
    assert last.endswith("\n")


def test_a_file_gets_nothing() -> None:
    file = StringIO()

    with Progress("Calls", total=10, stream=file) as bar:
        bar.advance(10)

    assert file.getvalue() == ""


def test_more_than_there_was_to_do_is_all_of_it() -> None:
    terminal = Terminal()

    with Progress("Calls", total=0, stream=terminal) as bar:
        bar.advance(3)

    assert "100%" in terminal.getvalue()


def test_what_fails_leaves_the_cursor_on_a_line_of_its_own() -> None:
    terminal = Terminal()
    bar = Progress("Calls", total=2, stream=terminal).__enter__()

    bar.__exit__(ValueError, ValueError("broken"), None)

    assert terminal.getvalue().endswith("\n")
