"""Does a decision take longer when there is more of everything? One caller's median wait in three databases
of one PostgreSQL: one team with ten keys; a thousand teams; a hundred thousand keys in a thousand teams.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.postgresql.base import DatabaseWrapper

from bench import copies
from bench.decisions import Side, authorize, compare
from bench.environment import Services, portal
from bench.load import Gateway
from bench.results import Result
from bench.sizes import Size
from bench.world import World

FEW_KEYS = 10
MANY_TEAMS = 1_000
MANY_KEYS = 100_000
QUICK_KEYS = 1_000
CALLED_KEYS = 200
BAR = 1.2


def growth(running: Services, size: Size) -> Iterator[Result]:
    """Give how much longer a decision takes with a thousand teams, and with a hundred thousand keys."""
    keys = MANY_KEYS if size.judged else QUICK_KEYS
    world = World()
    few = world.load_gateway(world.add("few", teams=1, projects=1, keys=FEW_KEYS).tokens)
    _clone("few")
    teams = world.add("team", teams=MANY_TEAMS - 1, projects=1, keys=1)
    many_teams = world.load_gateway(teams.tokens)
    _clone("many_teams")
    many_keys = world.load_gateway(copies.of_key(teams.keys[0], count=keys, called=CALLED_KEYS))
    with ExitStack() as stack:
        base, of_teams, of_keys = (
            _warm_side(stack, name, gateway)
            for name, gateway in (("few", few), ("many_teams", many_teams), ("purser", many_keys))
        )
        for name, side in ((f"{MANY_TEAMS}_vs_1_teams", of_teams), (f"{keys}_vs_{FEW_KEYS}_keys", of_keys)):
            ratio = compare(size, side, base, of=lambda seen: seen.median_seconds)
            yield Result(
                name=f"p50_authorize_with_{name} c=1",
                value=ratio,
                bar=BAR,
                at_least=False,
                judged=size.judged,
            )


def _warm_side(stack: ExitStack, database: str, gateway: Gateway) -> Side:
    """Start a portal on one database, every key called once and the tables analysed with calls in them."""
    environment = {"DATABASE_URL": _url(database)}
    with portal(workers=1, environment=environment) as port:
        side = authorize(port, gateway, connections=1)
        side.load(2.0).expect_only("authorize 200")
    with psycopg.connect(_url(database), autocommit=True) as session:
        session.execute("VACUUM ANALYZE")
    side = authorize(stack.enter_context(portal(workers=1, environment=environment)), gateway, connections=1)
    side.name = database
    return side


def _clone(name: str) -> None:
    """Copy the database as it is now; nobody may be connected to it meanwhile."""
    default = cast("DatabaseWrapper", connections[DEFAULT_DB_ALIAS])
    default.close()
    default.close_pool()
    with psycopg.connect(_url("postgres"), autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name} TEMPLATE purser")


def _url(database: str) -> str:
    return os.environ["DATABASE_URL"].replace("/purser?", f"/{database}?", 1)
