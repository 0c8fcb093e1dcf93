"""Counts the cells of the matrices; as a plugin (`-p tests.matrix`) it prints how many are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest


@dataclass
class Matrix:
    """The cells of one kind of route: what was declared and what was answered."""

    routes: set[str] = field(default_factory=set)
    cells: int = 0
    wrong: list[str] = field(default_factory=list)
    undeclared: set[str] = field(default_factory=set)


MATRICES: dict[str, Matrix] = {}


def check(kind: str, route: str, declared: Mapping[str, str], answered: Mapping[str, str]) -> None:
    """Hold the answers for one route against what is declared, role by role, and count both."""
    matrix = MATRICES.setdefault(kind, Matrix())
    matrix.routes.add(route)
    matrix.cells += len(answered)
    wrong = [role for role, answer in answered.items() if declared.get(role) != answer]
    matrix.wrong += [f"{route} {role}: {answered[role]}, not {declared.get(role)}" for role in wrong]
    assert answered == declared


def check_declared(kind: str, routes: Sequence[str], declared: Sequence[str]) -> None:
    """Fail for a route without a row and for a row without a route."""
    matrix = MATRICES.setdefault(kind, Matrix())
    matrix.undeclared |= set(routes) ^ set(declared)
    assert sorted(routes) == sorted(declared)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the size of each matrix and what is wrong in it."""
    for kind, matrix in sorted(MATRICES.items()):
        terminalreporter.write_line(
            f"{kind:24} {len(matrix.routes):4} routes {matrix.cells:5} cells"
            f" {len(matrix.wrong):3} wrong {len(matrix.undeclared):3} undeclared"
        )
        for line in [*matrix.wrong, *sorted(matrix.undeclared)]:
            terminalreporter.write_line(f"  {line}")
