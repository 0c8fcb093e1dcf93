"""Shares the tests among the workers of pytest-xdist: whole files, the longest first.

A file stays on one worker, so that what its tests share is made once; folders that share servers do too.
Groups by `xdist_group` cannot serve: pytest 9.2 ignores the name that pytest-xdist 3.8 puts on a test.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/gateways/litellm/",)  # one LiteLLM for all of them
# What takes longest, in this order: a long file at the end leaves the other workers idle.
LONGEST = (
    "tests/e2e/test_pages.py",
    "tests/portal/test_matrix.py",
    "tests/e2e/test_main_job.py",
    *TOGETHER,
    "tests/ledger/test_machine.py",
    "tests/portal/test_up.py",
    "tests/e2e/",
    "tests/api/test_matrix.py",
    "tests/portal/",
)


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # the package has no types
    """Gives a worker one file after the other, in the order of the collection."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # the number of tests says little about their time
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        """Return what a test goes together with."""
        file: str = super()._split_scope(nodeid)
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Share the tests by file, whatever `--dist` says."""
    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first and leave the others in their order."""
    items.sort(key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> int:
    return next((rank for rank, place in enumerate(LONGEST) if nodeid.startswith(place)), len(LONGEST))
