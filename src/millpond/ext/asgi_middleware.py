"""Whole responses from a cache, as ASGI middleware: before anybody has routed anything.

What must stay true: a request that is not answered by a page is answered by the application as if
this were not there, whatever became of the cache, or of whoever's run it waited for.

Inside a run another middleware of this kind lets everything through: the run is for a page already,
and with the same cache it would wait for itself.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, cast

from millpond.cache.context import mode_of, scopes
from millpond.errors import ConfigError, RemoteLoadError
from millpond.ext.asgi_cache import ResponseCache
from millpond.ext.asgi_page import send_page
from millpond.ext.asgi_run import TAGS, PageRun, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from millpond.core.keys import Key
    from millpond.ext.asgi_keys import Asked
    from millpond.ext.asgi_page import ASGIApp, Receive, Scope, Send

__all__ = ["ResponseCacheMiddleware", "tag_response"]


class ResponseCacheMiddleware:
    """Answer GET and HEAD from a `ResponseCache`, and keep what the application answers.

    `app.add_middleware(ResponseCacheMiddleware, cache=pages, paths=["/products/{product_id}"])`.
    Any ASGI application will do.

    Kept are responses of 200 with a whole body, of the paths named; not those that set a cookie or
    say `Cache-Control: private`, `no-store` or `no-cache`, nor those that `Vary` by what the cache
    does not tell apart. Without paths, only those that say `s-maxage`, or `public` and `max-age`.
    Requests with `Cookie` or `Authorization` go past it, unless `ResponseCache(vary=...)` or
    `ignore` names that header. A hit has an `Age` and an `ETag`, and answers `If-None-Match`.

    While Redis is out of reach, the application answers. What it raises is raised, to all in this
    process who waited for that run; in other processes they run it for themselves. Client and
    request may be gone: a run that others wait for goes on.

    Middleware that is added later stands in front: add what tells of one request (limits, request
    ids) and `CORSMiddleware` after this, for the headers of what stands behind are kept.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        cache: ResponseCache | Callable[[Scope], ResponseCache | None],
        paths: Collection[str] | None = None,
    ) -> None:
        """Stand in front of an application.

        Args:
            app: What answers; `add_middleware` gives it.
            cache: Where pages are kept; or a function of the ASGI scope that says where, if at all.
            paths: Those that are kept, as routes have them: `"/"`, `"/products/{product_id}"`,
                `"/files/{name:path}"`. Default None: with a function all that it gives a cache
                for; otherwise what asks for it itself.

        Raises:
            ConfigError: No cache, or a path that is none; with `add_middleware`, when the
                application starts.
        """
        if not isinstance(cache, ResponseCache) and not callable(cache):
            raise ConfigError(
                "ResponseCacheMiddleware takes cache=ResponseCache(...), or a function of the "
                f"scope that gives one or None, not {type(cache).__name__}"
            )
        self._app = app
        self._cache = cache
        self._must_ask = paths is None and isinstance(cache, ResponseCache)
        self._exact, self._matches = _pattern(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through.

        Raises:
            LoadTimeout: The application ran past the policy's `load_timeout`.
            BackendUnavailable: Redis is out of reach, with `on_unavailable="raise"`.
            Exception: What the application raises.

        Redis:
            As `Cache.get_or_set`; for HEAD as `Cache.get`.
        """
        method = scope["method"] if scope["type"] == "http" and TAGS not in scope else ""
        if method == "GET" or method == "HEAD":  # noqa: PLR1714  (a set would have to be hashed)
            path = scope["path"]
            if self._matches is None or path in self._exact or self._matches(path):
                cache = self._cache
                if not isinstance(cache, ResponseCache):
                    cache = cache(scope)
                asked = None if cache is None else cache.keys.asked(scope)
                if cache is not None and asked is not None:
                    await self._answer(cache, asked, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _answer(
        self, cache: ResponseCache, asked: Asked, scope: Scope, receive: Receive, send: Send
    ) -> None:
        pages = cache.pages
        if scopes.entered and mode_of(pages) in ("bypass", "disable"):
            await self._alone(cache, scope, receive, send)
            return
        if scope["method"] == "HEAD":
            page = await pages.get(asked.key, None)
            if page is None:
                await self._alone(cache, scope, receive, send)
            else:
                await send_page(page, asked.conditions, send, head=True)
            return
        if cache.passing and cache.passes(asked.key, asyncio.get_running_loop().time()):
            await self._alone(cache, scope, receive, send)
            return
        run = PageRun(self._app, cache, asked, scope, must_ask=self._must_ask)
        try:
            try:
                page = await pages.get_or_set(
                    asked.key, run.load, tags=asked.tags, mode="refresh" if asked.reload else None
                )
            except ServerError as failed:
                page = failed.page
            except RemoteLoadError:
                page = None
            if page is None:
                page = run.page  # an error, where all that is known is that nothing can be kept
            if page is None and run.handed:
                await run.hand_over(receive, send)
            elif page is None:
                run.leave()  # it may run for all that: the mark that nothing can be kept is stale
                await self._alone(cache, scope, receive, send)
            elif page is run.page:
                await send_page(page, asked.conditions, send, fresh=True)
                await run.ended()
            else:
                run.leave()  # before it has begun: what is served stale is refreshed for nobody
                await send_page(page, asked.conditions, send)
        except BaseException:
            run.leave()
            raise

    async def _alone(
        self, cache: ResponseCache, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run the application for this request and nobody else."""
        await self._app(cache.keys.seen(scope, alone=True), receive, send)


def tag_response(request: Any, *tags: Key) -> None:
    """Name what the response to a request is to be deleted by, with `ResponseCache.delete_tags`.

    Called by a handler, while it makes the response; where no page is made of it, nothing happens.
    Tags that only the handler knows cost a hit one more read each, as all tags do.

    Args:
        request: The request, or its ASGI scope.
        tags: Keys: `"products"`, `("author", 7)`.
    """
    scope: Any = getattr(request, "scope", request)
    named = scope.get(TAGS)
    if named is not None:
        cast("list[Key]", named).extend(tags)


_PART = re.compile(r"\{[^{}:]*(?::([a-z]+))?\}")
_PARTS = {"": "[^/]+", "str": "[^/]+", "path": ".*", "int": "[0-9]+", "uuid": "[0-9a-fA-F-]+"}


def _pattern(
    paths: Collection[str] | None,
) -> tuple[frozenset[str], Callable[[str], object] | None]:
    """Return the paths without parameters, and what matches those with some; None: all do."""
    if paths is None:
        return frozenset(), None
    if isinstance(paths, str) or not paths:
        raise ConfigError(f"paths takes a list: paths=['/products/{{product_id}}'], not {paths!r}")
    exact: list[str] = []
    patterns: list[str] = []
    for path in paths:
        if not isinstance(path, str) or not path.startswith("/"):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"a path begins with a slash, such as '/products', not {path!r}")
        pattern, at = "", 0
        for part in _PART.finditer(path):
            kind = part[1] or ""
            if kind not in _PARTS:
                raise ConfigError(f"{path!r}: a parameter is {', '.join(_PARTS)[2:]}, not {kind!r}")
            pattern += re.escape(path[at : part.start()]) + _PARTS[kind]
            at = part.end()
        if not at:
            exact.append(path)
        patterns.append(pattern + re.escape(path[at:]))
    return frozenset(exact), re.compile("|".join(f"(?:{one})" for one in patterns)).fullmatch
