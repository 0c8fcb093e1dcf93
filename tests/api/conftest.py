"""What every test of the API gets: one of everything, and callers."""

from __future__ import annotations

import pytest

from tests.api.world import Caller, World, make_world
from tests.cast import Cast


@pytest.fixture
def world(cast: Cast) -> World:
    """Make one of everything that the API shows."""
    return make_world(cast)


@pytest.fixture
def ada(cast: Cast) -> Caller:
    """Let the engineer call."""
    return Caller(cast.ada)


@pytest.fixture
def ben(cast: Cast) -> Caller:
    """Let the lead call."""
    return Caller(cast.ben)


@pytest.fixture
def dan(cast: Cast) -> Caller:
    """Let the outsider call."""
    return Caller(cast.dan)


@pytest.fixture
def ann(cast: Cast) -> Caller:
    """Let the administrator call."""
    return Caller(cast.ann)
