"""`memory://`: fakeredis in this process, for tests and for trying things out."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, ClassVar

from millpond.core.watch import Watches
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["MemoryServer"]


class MemoryServer:
    """A fake Redis and those who watch its keys."""

    _named: ClassVar[weakref.WeakValueDictionary[str, MemoryServer]] = weakref.WeakValueDictionary()

    def __init__(self) -> None:
        """Make an empty one.

        Raises:
            ConfigError: fakeredis or its Lua engine is not installed.
        """
        try:
            import fakeredis  # noqa: PLC0415
            import lupa  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                f"memory:// needs {error.name or 'fakeredis'}: pip install 'millpond[memory]'"
            ) from error
        del lupa
        self._fake = fakeredis
        self._server = fakeredis.FakeServer()
        self.watches = Watches()

    @classmethod
    def named(cls, name: str) -> MemoryServer:
        """Get the server of this name, shared while anybody holds it; no name: a private one."""
        if not name:
            return cls()
        server = cls._named.get(name)
        if server is None:
            server = cls._named[name] = cls()
        return server

    def connect(self) -> Redis:
        """Make a client for the running loop."""
        return self._fake.FakeAsyncRedis(server=self._server)
