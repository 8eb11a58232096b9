"""FastAPI: a client that lives with the application, and caches as dependencies.

In an application::

    users = Cache(client, "user", type=User, ttl=300)
    Users = Annotated[Cache[User], Depends(inject(users))]

    app = FastAPI()
    install(app, client)

    @app.get("/users/{user_id}")
    async def read_user(user_id: int, users: Users) -> User:
        return await users.get_or_set(user_id, lambda: load_user(user_id))

A handler may as well use `users` as the global that it is; the dependency is for tests that want
to put another object in its place.

Routes are limited by `dependencies=[Depends(limit(per_minute))]`, a whole application by
`app.add_middleware(LimitMiddleware, limiter=per_minute)`. Whole responses are kept by
`app.add_middleware(ResponseCacheMiddleware, cache=pages, paths=[...])`, see `millpond.ext.asgi`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakValueDictionary

try:
    from fastapi import FastAPI
except ImportError as error:
    raise ImportError(
        "millpond.ext.fastapi needs FastAPI: pip install 'millpond[fastapi]'", name="fastapi"
    ) from error

from millpond.ext import starlette
from millpond.ext.addresses import client_address
from millpond.ext.asgi import ResponseCache, ResponseCacheMiddleware, tag_response
from millpond.ext.fastapi_limits import TooManyRequests, describe_limits, limit
from millpond.ext.fastapi_middleware import LimitMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.applications import Starlette

    from millpond.core.client import Client

__all__ = [
    "LimitMiddleware",
    "ResponseCache",
    "ResponseCacheMiddleware",
    "TooManyRequests",
    "client_address",
    "describe_limits",
    "inject",
    "install",
    "limit",
    "tag_response",
]

T = TypeVar("T")


def install(app: Starlette, client: Client) -> None:
    """Open the client when the application starts, and close it when the application ends.

    As `millpond.ext.starlette.install`, whose page says what happens to lifespans; and denials of
    limits are answered by RFC 9457 and stand in the OpenAPI schema (`describe_limits`).

    Args:
        app: The outermost application.
        client: Not open, and opened by nobody else while the application runs.

    Raises:
        ConfigError: `app` is no application, or it has been started.
    """
    starlette.install(app, client)
    if isinstance(app, FastAPI):
        describe_limits(app)


def inject(resource: T) -> Callable[[], Coroutine[Any, Any, T]]:
    """Make a dependency that provides a cache, or whatever else is given.

    In tests, `app.dependency_overrides[inject(users)] = lambda: other` replaces it in every
    handler. To run the same caches on another Redis, `millpond.testing.override` is simpler.

    Args:
        resource: What handlers get. It is not opened or closed by this: see `install`.

    Returns:
        A coroutine function without parameters, so that FastAPI calls it on the event loop and
        not in a thread. While anybody holds it, the same object gives the same function.
    """
    known = _providers.get(id(resource))
    if known is not None:
        return cast("Callable[[], Coroutine[Any, Any, T]]", known)

    async def provide() -> T:
        return resource

    _providers[id(resource)] = provide
    return provide


# A function holds its resource, so as long as it is in here, the id is that object's. When the
# last holder lets go of the function, it leaves, and the resource with it.
_providers: WeakValueDictionary[int, Callable[[], Coroutine[Any, Any, Any]]] = WeakValueDictionary()
