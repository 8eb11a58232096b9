"""A rate limit in front of a whole application, as ASGI middleware.

It asks before FastAPI has begun with a request. A dependency is asked when the request, its stacks
and its parameters have been made, all of which is then kept while the answer is on its way: that
costs more than the question itself, and most of it is the garbage collector's work.

What must stay true: who is denied has not reached the application; and whatever the application
answers, 404s and streams included, says what is left, unless it was not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from starlette.requests import Request

from millpond.ext.fastapi_limits import TooManyRequests, answer_denial, limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from millpond.core.keys import Key
    from millpond.limit.limiter import Limiter

__all__ = ["LimitMiddleware"]


class LimitMiddleware:
    """Hit a limiter with each HTTP request, and answer 429 (RFC 9457) when it denies.

    `app.add_middleware(LimitMiddleware, limiter=per_minute)`. It is the quicker way where the
    whole application has one limit; `limit(...)` knows routes, is injected, and stands in the
    OpenAPI schema, and this does none of that. Exception handlers of the application are not
    asked, since the exception has not got that far. WebSockets pass: limit them by `limit(...)`.

    Middleware that is added later stands in front: add `CORSMiddleware` after this, so that its
    answers to preflights are not counted, and denials get its headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limiter: Limiter | Callable[[Request], Limiter | Awaitable[Limiter]],
        key: Callable[[Request], Key | Awaitable[Key]] | None = None,
        cost: int | Callable[[Request], int | Awaitable[int]] = 1,
        skip_when: Callable[[Request], bool | Awaitable[bool]] | None = None,
        legacy_headers: bool = False,
    ) -> None:
        """Stand in front of an application.

        Args:
            app: What is limited; `add_middleware` gives it.
            limiter: As for `limit`, and so are the others. The functions get a request that has
                neither its body, which is the application's to read, nor a route.
            key: Default: the address of the connection.
            cost: What a request counts for.
            skip_when: Requests for which this is true are not counted: health checks, say.
            legacy_headers: Add `X-RateLimit-Limit`, `-Remaining` and `-Reset`.

        Raises:
            ConfigError: As `limit` does; with `add_middleware`, when the application starts.
        """
        self._app = app
        self._limited = limit(
            limiter, key=key, cost=cost, skip_when=skip_when, legacy_headers=legacy_headers
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, told = Request(scope), _Told()
        try:
            await self._limited(request, cast("Response", told))
        except TooManyRequests as denied:
            response = await answer_denial(request, denied)
            await response(scope, receive, send)
            return
        headers = told.raw_headers

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await self._app(scope, receive, tell)


class _Told:
    """Takes the headers, as the response does that FastAPI gives to a dependency."""

    __slots__ = ("raw_headers",)

    def __init__(self) -> None:
        self.raw_headers: list[tuple[bytes, bytes]] = []
