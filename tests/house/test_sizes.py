"""Sizes of files, functions and templates: hard limits, and a compass for nineteen in twenty."""

from __future__ import annotations

import ast
from statistics import quantiles

from tests.house.source import APPS, Source, planted, python_sources, templates

FILE_LINES_LIMIT = 600
FILE_LINES_P95 = 330
FUNCTION_LINES_LIMIT = 70
FUNCTION_LINES_P95 = 30
TEMPLATE_LINES_LIMIT = 200
TEMPLATE_LINES_P95 = 100


def test_files_are_short() -> None:
    sizes = {source.path: len(source.text.splitlines()) for source in written_sources()}
    assert too_long(sizes, limit=FILE_LINES_LIMIT, p95_limit=FILE_LINES_P95) == []


def test_functions_are_short() -> None:
    sizes = {name: lines for source in written_sources() for name, lines in function_lines(source).items()}
    assert too_long(sizes, limit=FUNCTION_LINES_LIMIT, p95_limit=FUNCTION_LINES_P95) == []


def test_templates_are_short() -> None:
    sizes = {path: len(text.splitlines()) for path, text in templates().items()}
    assert too_long(sizes, limit=TEMPLATE_LINES_LIMIT, p95_limit=TEMPLATE_LINES_P95) == []


def test_long_things_are_seen() -> None:
    function = "def long():\n" + "    pass\n" * 71
    assert function_lines(planted(function)) == {"budgets/services.py:1 long": 72}
    assert too_long({"a": 10, "b": 601}, limit=600, p95_limit=700) == ["b: 601, limit 600"]
    many_long = {str(number): 40 for number in range(20)}
    assert too_long(many_long, limit=70, p95_limit=30) == ["19 in 20 should be within 30, but that is 40"]


def written_sources() -> list[Source]:
    """Give what people wrote: migrations are generated, so they have no say in sizes."""
    return [source for source in python_sources(*APPS, "tests") if "/migrations/" not in source.path]


def function_lines(source: Source) -> dict[str, int]:
    """Give the length of each function, without its decorators and docstring."""
    sizes = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = node.body[0] if ast.get_docstring(node) else None
            docstring_lines = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
            total = (node.end_lineno or 0) - node.lineno + 1
            sizes[f"{source.at(node)} {node.name}"] = total - docstring_lines
    return sizes


def too_long(sizes: dict[str, int], *, limit: int, p95_limit: int) -> list[str]:
    """Name what is over the limit, and say when too many are over the compass."""
    found = [f"{name}: {lines}, limit {limit}" for name, lines in sizes.items() if lines > limit]
    if len(sizes) >= 20 and (p95 := quantiles(sizes.values(), n=20)[-1]) > p95_limit:
        found.append(f"19 in 20 should be within {p95_limit}, but that is {p95:.0f}")
    return found
