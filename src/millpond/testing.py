"""For the tests of applications: module-level clients and caches on another Redis for a while.

As a fixture::

    @pytest.fixture
    def http() -> Iterator[TestClient]:
        with override(client, "memory://"), TestClient(app) as http:
            yield http

`TestClient(app)` starts the application only when it is entered. With other test clients, such
as httpx with its `ASGITransport`, which never start it, open the client yourself:
`with override(client): async with client: ...`.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from millpond.core.client import Client
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from millpond.core.backends import Backend

__all__ = ["override"]

P = ParamSpec("P")
R = TypeVar("R")


class override:  # noqa: N801  (read as a verb: `with override(client):`)
    """Put another Redis under a closed client for the length of a `with` block.

    The client's prefix and hooks, and everything made with the client, stay what they are; its
    own server is not contacted. The client may be opened and closed several times inside: what
    is stored stays until the block ends, and the next block starts empty (on `memory://name` and
    on real servers, what is there is there). Overrides may be nested, with another one inside.
    Counters such as `users.statistics()` go on counting.

    As a decorator it does the same for each call of a function, async ones included.
    """

    def __init__(self, client: Client, url: str = "memory://") -> None:
        """Choose the other Redis.

        Args:
            client: The client, which must be closed whenever the block begins or ends.
            url: As for `Client.from_url`. The default runs in this process, on fakeredis;
                `embedded://` is a real server, started on each opening.
        """
        self._client = client
        self._url = url
        self._replaced: list[Backend] = []

    def __enter__(self) -> Client:
        """Replace; give the client.

        Raises:
            ConfigError: The client is open, or the URL cannot be used (as for `from_url`).
        """
        other = Client.from_url(self._url).backend
        self._replaced.append(self._client.replace_backend(other))
        return self._client

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put back what was replaced.

        Raises:
            ConfigError: The client is open.
        """
        if self._client.statistics().state != "closed":
            raise ConfigError(
                "the client is still open where its override ends; close it, or end the "
                "application that opened it, inside the override"
            )
        self._client.replace_backend(self._replaced.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function, so that each call runs inside the override.

        Raises:
            ConfigError: A generator function, which would run after the call has returned.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigError(
                f"{function.__name__} is a generator, such as a fixture: write "
                "`with override(client):` around its yield instead of decorating it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def overridden(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", overridden)

        @functools.wraps(function)
        def overridden_now(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return overridden_now
