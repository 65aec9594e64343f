"""A TCP relay that can go silent: it stands between two towns of the demo and of the tests like a river.

While it is whole it forwards. While it is cut it behaves like a line whose packets are dropped: it goes
on accepting and reading, discards every byte both ways, answers nothing, closes nothing and resets
nothing, so that both ends learn of the cut by their own deadlines alone. A connection that has lost a
byte, or an end of a connection, or was accepted during a cut, stays silent for ever, since what it lost
can never be sent again; after the mending new connections work. No deadline of anybody is shortened and
no privilege is needed.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field

READ_BYTES = 65_536


@dataclass(slots=True, eq=False)
class _Connection:
    """One caller and, if it could be reached, the one who is called."""

    caller: asyncio.StreamWriter
    called: asyncio.StreamWriter | None = None
    silent: bool = False
    """True once a byte or an end was lost: nothing more is ever forwarded."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Relay:
    """Forwards from a port of its own on loopback to another address, until it is cut.

    Attributes:
        carried_bytes: Bytes forwarded, both ways together.
        discarded_bytes: Bytes read and thrown away.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        """Name where calls go; `start` opens the port."""
        self.target = (target_host, target_port)
        self.carried_bytes = 0
        self.discarded_bytes = 0
        self.port = 0
        self._cut = False
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What a town is told as the address of the one behind."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen on a free port of loopback, the same one again after a `close`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Drop everything from now on, both ways, without a word."""
        self._cut = True

    def heal(self) -> None:
        """Let new connections through again; what the cut has touched stays silent."""
        self._cut = False

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        self._connections.add(connection)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(connection, reader)
        except (OSError, asyncio.CancelledError):
            pass  # One end is gone, or the relay ends; ending the connection below tells the other.
        finally:
            self._tasks.discard(task)
            self._end(connection)

    async def _carry(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        if self._cut:
            connection.silent = True
            await self._pump(connection, reader, None)
            return
        back, connection.called = await asyncio.open_connection(*self.target)
        pumps = (
            self._pump(connection, reader, connection.called),
            self._pump(connection, back, connection.caller),
        )
        await asyncio.gather(*pumps)

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None
    ) -> None:
        """Carry one direction to its end. The end itself is carried only if nothing has been lost."""
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                if self._lost(connection) or writer is None:
                    self.discarded_bytes += len(data)
                    continue
                self.carried_bytes += len(data)
                writer.write(data)
                await writer.drain()
        if not self._lost(connection) and writer is not None:
            writer.close()

    def _lost(self, connection: _Connection) -> bool:
        """Whether what this connection brings now is lost; once lost, always."""
        connection.silent = connection.silent or self._cut
        return connection.silent

    def _end(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        for writer in (connection.caller, connection.called):
            if writer is not None:
                writer.close()
