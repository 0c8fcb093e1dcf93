"""Rules about code that no linter knows, each with a planted file that shows that it sees what it forbids."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.house.source import Source, app_sources, calls, planted

READS_THE_CLOCK = ("timezone.now", "datetime.now", "datetime.utcnow", "datetime.today", "date.today")
ENQUEUES = ("delay", "apply_async")
# Where an unknown error is turned into an answer or a log line, and the next piece of work goes on.
BOUNDARIES = (
    "/tasks.py",
    "/tasks/",
    "core/outbox.py",
    "core/problems.py",
    "gateway/hot/",
    "portal/middleware.py",
)


def test_time_comes_from_the_clock_module(violations: Violations) -> None:
    assert violations(reads_the_clock) == []


def test_jobs_wait_for_commit(violations: Violations) -> None:
    assert violations(enqueues_before_commit) == []


def test_locks_state_their_strength_and_order(violations: Violations) -> None:
    assert violations(vague_locks) == []


def test_rows_are_locked_before_they_are_joined(violations: Violations) -> None:
    assert violations(joined_locks) == []


def test_exceptions_are_caught_by_name(violations: Violations) -> None:
    assert violations(broad_excepts) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("reads_the_clock", "from django.utils import timezone\nat = timezone.now()"),
        ("reads_the_clock", "import datetime\nat = datetime.datetime.now(tz=datetime.UTC)"),
        ("enqueues_before_commit", "send_mail.delay(7)"),
        ("enqueues_before_commit", "send_mail.apply_async(args=[7])"),
        ("vague_locks", "Budget.objects.select_for_update().order_by('pk')"),
        ("vague_locks", "Budget.objects.select_for_update(no_key=True).get(pk=1)"),
        ("vague_locks", "Budget.objects.select_for_update(no_key=False).order_by('pk')"),
        ("joined_locks", "R.select_for_update(no_key=True, of=('self',)).order_by('pk').get(pk=1)"),
        ("broad_excepts", "try:\n    f()\nexcept Exception:\n    pass"),
        ("broad_excepts", "try:\n    f()\nexcept (ValueError, Exception):\n    log()"),
        ("broad_excepts", "try:\n    f()\nexcept:\n    log()"),
    ],
)
def test_planted_violation_is_seen(rule: str, text: str) -> None:
    assert RULES[rule](planted(text)) != []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("reads_the_clock", "from core import clock\nat = clock.now()"),
        ("enqueues_before_commit", "send_mail.delay_on_commit(7)"),
        ("enqueues_before_commit", "transaction.on_commit(lambda: send_mail.delay(7))"),
        ("vague_locks", "Budget.objects.filter(a=1).select_for_update(no_key=True).order_by('pk')"),
        ("vague_locks", "Budget.objects.order_by('pk').select_for_update(no_key=True).get(pk=1)"),
        (
            "vague_locks",
            "def f():\n    rows = R.select_for_update(no_key=True)\n    rows.order_by('pk').get(pk=1)",
        ),
        ("joined_locks", "R.select_for_update(no_key=True, skip_locked=True, of=('self',)).order_by('pk')"),
        ("broad_excepts", "try:\n    f()\nexcept Exception:\n    undo()\n    raise"),
        ("broad_excepts", "try:\n    f()\nexcept ValueError:\n    pass"),
    ],
)
def test_good_code_is_left_alone(rule: str, text: str) -> None:
    assert RULES[rule](planted(text)) == []


Rule = Callable[[Source], list[str]]
Violations = Callable[[Rule], list[str]]


@pytest.fixture
def violations() -> Violations:
    """Apply a rule to every file of the apps."""
    return lambda rule: [violation for source in app_sources() for violation in rule(source)]


def reads_the_clock(source: Source) -> list[str]:
    """Find readings of the time outside core/clock.py, which tests can stop."""
    if source.path == "core/clock.py":
        return []
    return [f"{source.at(call)} use core.clock" for call in calls(source.tree, *READS_THE_CLOCK)]


def enqueues_before_commit(source: Source) -> list[str]:
    """Find jobs that a worker may start before the rows they need are committed."""
    waiting = {id(inner) for call in calls(source.tree, "on_commit") for inner in ast.walk(call)}
    return [
        f"{source.at(call)} use delay_on_commit"
        for call in calls(source.tree, *ENQUEUES)
        if id(call) not in waiting
    ]


def vague_locks(source: Source) -> list[str]:
    """Find row locks without `no_key=True`, or without an order that every other locker shares."""
    ordered = {id(part) for call in calls(source.tree, "order_by") for part in ast.walk(call)}
    ordered |= {id(part) for name in ordered_names(source.tree) for part in ast.walk(name.value)}
    found = []
    for call in calls(source.tree, "select_for_update"):
        is_ordered = id(call) in ordered or any(True for _ in calls(call.func, "order_by"))
        if not has_true(call, "no_key") or not is_ordered:
            found.append(f'{source.at(call)} use .select_for_update(no_key=True).order_by("pk")')
    return found


def joined_locks(source: Source) -> list[str]:
    """Find row locks that wait in a statement with joins: `of` says that it has some. See core/locks.py."""
    return [
        f"{source.at(call)} use core.locks"
        for call in calls(source.tree, "select_for_update")
        if any(word.arg == "of" for word in call.keywords) and not has_true(call, "skip_locked")
    ]


def ordered_names(tree: ast.Module) -> Iterator[ast.Assign]:
    """Find assignments to a name that the same function puts in order: `rows = ...; rows.order_by("pk")`."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        ordered = {ast.unparse(call.func).partition(".")[0] for call in calls(function, "order_by")}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ordered:
                yield node


def has_true(call: ast.Call, name: str) -> bool:
    return any(word.arg == name and ast.unparse(word.value) == "True" for word in call.keywords)


def broad_excepts(source: Source) -> list[str]:
    """Find handlers of every error that neither stand at a boundary nor raise it again."""
    if any(boundary in source.path for boundary in BOUNDARIES):
        return []
    return [
        f"{source.at(handler)} catch the error by its name"
        for handler in ast.walk(source.tree)
        if isinstance(handler, ast.ExceptHandler)
        and is_broad(handler)
        and not isinstance(handler.body[-1], ast.Raise)
    ]


def is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(name) in {"Exception", "BaseException"} for name in names)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (reads_the_clock, enqueues_before_commit, vague_locks, joined_locks, broad_excepts)
}
