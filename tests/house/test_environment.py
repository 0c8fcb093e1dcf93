"""Each variable that the settings read is a line with a comment in .env.example, and no other."""

from __future__ import annotations

import ast
import re

from tests.house.source import PROJECT

ASSIGNMENT = re.compile(r"^#? ?([A-Z][A-Z0-9_]*)=")
READERS = {"bool", "decimal", "dict", "float", "int", "json", "list", "str", "url", "_secret"}


def test_example_names_what_the_settings_read() -> None:
    settings = (PROJECT / "portal/settings.py").read_text()
    assert variables_read(settings) == set(documented(example()))


def test_each_variable_is_explained() -> None:
    assert [name for name, comment in documented(example()).items() if not comment] == []


def test_missing_and_unexplained_variables_are_seen() -> None:
    assert variables_read('A = env.str("A", "")\nB = _secret("B")\nC = other("C")') == {"A", "B"}
    assert documented("# What A is.\nA=1\n\n# B=2\n") == {"A": "What A is.", "B": ""}


def example() -> str:
    return (PROJECT / ".env.example").read_text()


def variables_read(settings: str) -> set[str]:
    """Give the names that the settings read, by `env.TYPE("NAME")` and `_secret("NAME")`."""
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(settings))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).removeprefix("env.") in READERS
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def documented(text: str) -> dict[str, str]:
    """Give each variable of the example with the comment above it; `# NAME=` is one that is not set."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in text.splitlines():
        if match := ASSIGNMENT.match(line):
            found[match[1]] = " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        else:
            comment = []
    return found
