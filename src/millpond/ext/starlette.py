"""Starlette: a client that is open for as long as the application runs.

FastAPI is a Starlette application too; `millpond.ext.fastapi` exports the same `install`. Whole
responses are kept by `ResponseCacheMiddleware`, see `millpond.ext.asgi`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from millpond.errors import ConfigError
from millpond.ext.asgi import ResponseCache, ResponseCacheMiddleware, tag_response

try:
    from starlette.applications import Starlette
except ImportError as error:
    raise ImportError(
        "millpond.ext.starlette needs Starlette: pip install starlette", name="starlette"
    ) from error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from millpond.core.client import Client

__all__ = ["ResponseCache", "ResponseCacheMiddleware", "install", "tag_response"]


def install(app: Starlette, client: Client) -> None:
    """Open the client when the application starts, and close it when the application ends.

    The application's own lifespan stays what it is and runs inside the client's: the client is
    open before its first line and closed after its last, so start-up may warm a cache and
    shut-down may still delete. The state that it yields reaches `request.state` as before.
    Routers with a lifespan may be included before or after this.

    Several clients may be installed: each is put around what is there, so that the last one opens
    first. Installing a client again changes nothing. The application may be started again after
    it ended, in another event loop too. Redis being down does not keep it from starting.

    Args:
        app: The outermost application: Starlette runs no lifespan of an application that is
            mounted in another. A lifespan assigned later, to `app.router.lifespan_context`,
            replaces this one, so install after such an assignment.
        client: Not open, and opened by nobody else while the application runs.

    Raises:
        ConfigError: `app` is no application (a router, or an ASGI middleware around one), or it
            has been started.
    """
    if not isinstance(app, Starlette):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            "install(app, client) takes the FastAPI or Starlette application itself, "
            f"not {type(app).__name__}; install before anything is wrapped around it"
        )
    installed = cast("list[Client]", getattr(app.state, "millpond_clients", []))
    if client in installed:
        return
    if app.middleware_stack is not None:  # made for the first message, the lifespan's as a rule
        raise ConfigError(
            "the application has been started, so the client would never be opened; "
            "call install(app, client) where the application is made"
        )
    own = app.router.lifespan_context

    # No anyio task group may stay open across the yield: it would have to be left by the task
    # that entered it, which those who run lifespans (fixtures, say) do not promise.
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[Any]:
        async with client, own(app) as state:
            yield state

    app.router.lifespan_context = lifespan
    app.state.millpond_clients = [*installed, client]
