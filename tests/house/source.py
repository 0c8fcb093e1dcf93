"""The files that the house rules read: what is in the working tree, generated and vendored files apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PROJECT = Path(__file__).parents[2]
APPS = ("approvals", "budgets", "catalog", "core", "gateway", "keys", "portal", "teams", "usage")
# What is copied into a gateway's own environment, where the portal's modules do not exist.
PLUGINS = "gateway/plugins/"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One Python file; `path` is relative to the project."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def at(self, node: ast.AST) -> str:
        """Give the place of a node, as an editor understands it."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


def app_sources() -> list[Source]:
    """Give the Python files of the apps, without migrations and gateway plugins."""
    return [
        source
        for source in python_sources(*APPS)
        if "/migrations/" not in source.path and not source.path.startswith(PLUGINS)
    ]


def python_sources(*folders: str) -> list[Source]:
    """Give the Python files below `folders`."""
    return [
        Source(path=str(path.relative_to(PROJECT)), text=path.read_text())
        for folder in folders
        for path in sorted((PROJECT / folder).rglob("*.py"))
    ]


def templates() -> dict[str, str]:
    """Give the text of each template by its path."""
    return {
        str(path.relative_to(PROJECT)): path.read_text()
        for path in sorted((PROJECT / "templates").rglob("*"))
        if path.suffix in {".html", ".txt", ".svg"}
    }


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    """Give each call of a method or function with one of these dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if any(called == name or called.endswith(f".{name}") for name in names):
                yield node


def planted(text: str) -> Source:
    """Give a file that breaks a rule on purpose, to show that the rule sees it."""
    return Source(path="budgets/services.py", text=text)
