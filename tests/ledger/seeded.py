"""What a seeded bug is, and how it gets into the code and out again."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from django.db import connection

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One seeded bug. `home` is a file of SQL, or a module and function of Python as `module:function`."""

    name: str
    home: str
    before: str
    after: str
    tests: tuple[str, ...] = ()  # what to try first

    @property
    def is_sql(self) -> bool:
        return self.home.endswith(".sql")

    def source(self) -> str:
        """Return the function that the bug is in; raises LookupError where its text is not there once."""
        if not self.is_sql:
            found = [textwrap.dedent(inspect.getsource(self.function()))]
        else:
            found = [each for each in functions(ROOT / self.home) if self.before in each]
        if len(found) != 1 or found[0].count(self.before) != 1:
            raise LookupError(f"{self.name}: its text must be in {self.home} exactly once")
        return found[0]

    def function(self) -> FunctionType:
        module, _, path = self.home.partition(":")
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
        assert isinstance(found, FunctionType)
        return found


def functions(file: Path) -> list[str]:
    """Return the statements of a file that make a function, one by one."""
    parts = re.split(r"(?m)^(?=CREATE (?:OR REPLACE )?FUNCTION )", file.read_text(encoding="utf-8"))
    return [part[: part.index("$$;") + 3] for part in parts[1:]]


@contextmanager
def seeded(mutant: Mutant) -> Iterator[None]:
    """Run what is inside with the bug in the code, and take it out again."""
    source = mutant.source()
    changed = source.replace(mutant.before, mutant.after)
    if mutant.is_sql:
        replace_function(changed)
        try:
            yield
        finally:
            replace_function(source)
        return
    function = mutant.function()
    right = function.__code__
    function.__code__ = compiled(changed, function)
    try:
        yield
    finally:
        function.__code__ = right


def replace_function(source: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(source.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))


def compiled(source: str, function: FunctionType) -> CodeType:
    """Compile a changed function in the module of the right one."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.decorator_list = []
    names: dict[str, object] = {}
    exec(compile(tree, function.__code__.co_filename, "exec"), dict(function.__globals__), names)  # noqa: S102
    made = names[function.__name__]
    assert isinstance(made, FunctionType)
    return made.__code__
