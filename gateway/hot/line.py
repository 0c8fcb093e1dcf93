"""The one connection over which the statements of one kind of decision go, one at a time.

It is psycopg's connection, driven through libpq: a statement is sent and its answer is read by one callback
of the event loop, without a pool, a cursor or a generator. docs/adr/0030 has the measurements.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg import errors
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

Row = Sequence[Any]
Connection = psycopg.AsyncConnection[Any]
Connect = Callable[[], Awaitable[Connection]]

GOOD = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})


class Line:
    """Asks prepared statements, one after the other. A lost connection is opened again by the next of them.

    An answer that does not come within `patience_seconds`, which is longer than the server lets a statement
    run, means that the server cannot be reached: the connection is given up.
    """

    def __init__(self, connect: Connect, *, patience_seconds: float) -> None:
        self._connect = connect
        self._patience_seconds = patience_seconds
        self._connection: Connection | None = None
        self._is_closed = False
        self._socket = -1  # remembered, because libpq forgets it when it loses the connection
        self._names: dict[str, bytes] = {}
        self._answer: asyncio.Future[PGresult] | None = None
        self._last: PGresult | None = None

    async def fetch(self, sql: str, parameters: Sequence[str]) -> list[Row]:
        """Return the rows of a statement, in which each `%s` stands for a parameter.

        Raises psycopg.Error; after an OperationalError the statement may be in force or not. Raises
        TimeoutError when no connection comes about.
        """
        connection = self._alive() or await self._open()
        name = self._names.get(sql)
        if name is None:
            name = b"s%d" % len(self._names)
            await self._ask(connection, lambda: connection.pgconn.send_prepare(name, numbered(sql)))
            self._names[sql] = name
        values = [text.encode() for text in parameters]
        result = await self._ask(connection, lambda: connection.pgconn.send_query_prepared(name, values))
        rows = Transformer(connection)
        rows.set_pgresult(result)
        return rows.load_rows(0, result.ntuples, tuple)

    async def close(self) -> None:
        """Close the connection for good. A statement that is under way is cancelled, else it might hold money
        for a caller who is gone.
        """
        self._is_closed = True
        if self._connection and self._answer and not self._answer.done():
            with contextlib.suppress(psycopg.Error):
                await self._connection.cancel_safe(timeout=self._patience_seconds)
            await asyncio.wait([self._answer], timeout=self._patience_seconds)
        self._lose(psycopg.OperationalError("the connection was closed"))

    def _alive(self) -> Connection | None:
        if self._connection and self._connection.pgconn.status == ConnStatus.BAD:
            self._lose(psycopg.OperationalError("the connection was lost"))
        return self._connection

    async def _open(self) -> Connection:
        if self._is_closed:
            raise psycopg.OperationalError("the connection was closed")
        async with asyncio.timeout(self._patience_seconds):
            connection = await self._connect()
        connection.pgconn.nonblocking = 1
        self._connection, self._socket = connection, connection.pgconn.socket
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        self._names = {}
        return connection

    async def _ask(self, connection: Connection, send: Callable[[], None]) -> PGresult:
        loop, pgconn = asyncio.get_running_loop(), connection.pgconn
        self._answer = answer = loop.create_future()
        silent = psycopg.OperationalError("the database does not answer")
        alarm = loop.call_later(self._patience_seconds, self._lose, silent)
        try:
            send()
            if pgconn.flush():
                loop.add_writer(self._socket, self._write)
            result = await answer
        except BaseException as error:
            # An answer that nobody waits for any more must not be taken for that of the next statement.
            self._lose(error)
            raise
        finally:
            alarm.cancel()
        return _checked(result)

    def _write(self) -> None:
        """Send more of a long statement, now that the socket has room again."""
        assert self._connection
        try:
            if not self._connection.pgconn.flush():
                asyncio.get_running_loop().remove_writer(self._socket)
        except psycopg.Error as error:
            self._lose(error)

    def _read(self) -> None:
        """Take what has arrived; an answer is whole when libpq has no further result."""
        assert self._connection
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    break
                self._last = result
            else:
                return
        except psycopg.Error as error:
            self._lose(error)
            return
        if self._last and self._answer and not self._answer.done():
            self._answer.set_result(self._last)
        self._last = None

    def _lose(self, error: BaseException) -> None:
        if self._connection is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._connection.pgconn.finish()
        self._connection = self._last = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(error)


def numbered(sql: str) -> bytes:
    """Return a statement as PostgreSQL prepares it, with `$1`, `$2` in place of each `%s`."""
    first, *others = sql.split("%s")
    return (first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))).encode()


def _checked(result: PGresult) -> PGresult:
    if result.status in GOOD:
        return result
    state = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
    if not state:  # libpq says it, not the server: the statement may be in force
        raise psycopg.OperationalError(result.get_error_message())
    try:
        kind = errors.lookup(state)
    except KeyError:
        kind = psycopg.DatabaseError
    raise kind(result.get_error_message())
