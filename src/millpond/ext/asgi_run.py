"""One run of the application, held back until it is known for whom its response is.

The run is a task of its own: those who wait for the page must not lose it with the client who
happened to come first. What must stay true:

1. *A response that may not be kept reaches nobody but who asked for it.* What the load gives to
   the cache is a whole page, or None, which says that there is none to be shared. The messages of
   such a response stay in this object, and only the request that it was made for has that.
2. *Nobody waits for what cannot be shared.* It is decided with the head of the response, mostly:
   then the load ends, with None, and all who waited for it, in any process, run the application
   for themselves, at once and beside each other. None is stored for `pass_ttl`, so that those who
   come later do not wait at all. Without Redis nothing is stored, and each would begin a load:
       A runs, and its response is private; B and C came meanwhile, and start over; B runs, and C
       waits for B.
   So a process remembers it by itself, too, and the load of who starts over ends before it runs.
3. *Nothing is held without bounds*: a body that grows past `max_body`, or still comes a second
   after its head, is let pass: what was held is sent, and the rest as it comes.
4. *A run that nobody can be given ends.* Once let pass, the application waits in its `send` for
   the request that it runs for. Should that be gone, the run is cancelled.
       A runs; A is cancelled; the response turns out to be private.
       A's page is stale, is served, and refreshed by a run for nobody; it sets a cookie this time.
   A run whose page can be kept goes on without A, and so do its background tasks.
5. An error of the server is not kept; as a failing loader's exception does, it ends the load. In
   this process those who waited are given the same response, if nothing says that it is private.
   It is no page, so it may have begun before a delete that some of them have seen.

The application sees a request without a body, and a client who stays until the page is complete.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from millpond.cache.loaded import Loaded
from millpond.errors import MillpondError
from millpond.events import ResponseNotKept
from millpond.ext.asgi_page import Page, made
from millpond.ext.asgi_rules import Ruling, rule

if TYPE_CHECKING:
    from millpond.ext.asgi_cache import ResponseCache
    from millpond.ext.asgi_keys import Asked
    from millpond.ext.asgi_page import ASGIApp, Message, Receive, Scope, Send

__all__ = ["TAGS", "ServerError", "PageRun"]

TAGS = "millpond.tags"
"""Where a scope has the list of tags that the application names."""

_PATIENCE = 1.0  # seconds that a body may take from its head to its end


class ServerError(Exception):
    """The application answered with an error of the server.

    Attributes:
        page: What others may be given as well; None: it is for who asked alone.
    """

    def __init__(self, page: Page | None) -> None:
        """Keep the response."""
        super().__init__("the application answered with an error")
        self.page = page


class PageRun:
    """What one request may make of a miss; most are made and never run.

    Attributes:
        handed: Whether the response is for the request that it was made for alone, by `hand_over`.
        page: The whole response, where it was one to be shared.
    """

    __slots__ = (
        "_adopted",
        "_app",
        "_asked",
        "_begun",
        "_body",
        "_cache",
        "_decided",
        "_held",
        "_left",
        "_must_ask",
        "_over",
        "_receive",
        "_ruling",
        "_scope",
        "_send",
        "_size",
        "_start",
        "_task",
        "_timer",
        "handed",
        "page",
    )

    def __init__(
        self, app: ASGIApp, cache: ResponseCache, asked: Asked, scope: Scope, *, must_ask: bool
    ) -> None:
        """Prepare; nothing runs.

        Args:
            app: The application.
            cache: Whose rules count.
            asked: What was asked for.
            scope: The request.
            must_ask: Whether a response is kept only if it asks for it.
        """
        self._app = app
        self._cache = cache
        self._asked = asked
        self._scope = scope
        self._must_ask = must_ask
        self._task: asyncio.Task[Exception | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left = False
        self.handed = False
        self.page: Page | None = None

    async def load(self) -> Loaded[Page | None]:
        """Run the application, and give its page to all, or to none.

        Raises:
            ServerError: It answered with an error.
            Exception: It raised.
        """
        cache, key = self._cache, self._asked.key
        loop = asyncio.get_running_loop()
        if cache.passes(key, loop.time()):
            return Loaded(None, ttl=cache.pass_ttl)
        self._decided: asyncio.Future[Loaded[Page | None]] = loop.create_future()
        self._adopted = asyncio.Event()
        self._held: deque[Message] = deque()
        self._send: Send | None = None
        self._receive: Receive | None = None
        self._ruling = Ruling(0)
        self._body: list[bytes] = []
        self._size = 0
        self._begun = self._over = False
        self._scope = {**cache.keys.seen(self._scope, alone=False), TAGS: list[Any]()}
        name = f"millpond page {cache.pages.key(key)}"
        self._task = cache.client.supervisor.start(self._drive(), name=name)
        if self._left and self.handed:
            self._end()  # an eager task may have come so far before it had a name here
        try:
            return await self._decided
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    async def _drive(self) -> Exception | None:
        """Run the application to its end; return what it raised, for whoever it runs for."""
        try:
            await self._app(self._scope, self._take, self._tell)
        except asyncio.CancelledError:
            self._decided.cancel()
            raise
        except Exception as error:
            if not self._decided.done():
                self._decided.set_exception(error)
                return None
            if self._left:
                raise
            return error
        except BaseException as error:
            if not self._decided.done():  # nobody else would tell those who wait
                self._decided.set_exception(MillpondError(f"the application ended with {error!r}"))
            raise
        finally:
            self._hurry_no_more()
        if not self._decided.done():
            self._pass("the response is not complete")
        return None

    # -- what the application is given --------------------------------------------------------

    async def _take(self) -> Message:
        """Receive: no body, and then nothing until there is a client, or the response is over."""
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._adopted.wait()
        while self._receive is not None and not self._over:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
        return {"type": "http.disconnect"}

    async def _tell(self, message: Message) -> None:
        """Send: hold, or wait for the client and let it pass."""
        if self._send is not None:
            await self._send(message)
            return
        if self._over:
            return
        if message["type"] == "http.response.start":  # its headers may be read only once
            message = {**message, "headers": [*message.get("headers", ())]}
        self._held.append(message)
        if not self.handed:
            self._consider(message)
        if self.handed:
            await self._adopted.wait()  # who adopts it sends what is held

    def _consider(self, message: Message) -> None:
        """Decide, as soon as there is enough to decide by."""
        kind = message["type"]
        if kind == "http.response.start":
            self._start = message
            self._ruling = ruling = rule(
                message["status"],
                message["headers"],
                self._cache.terms,
                must_ask=self._must_ask,
            )
            if not (ruling.ttl or ruling.shared):
                self._pass(ruling.reason)
            elif message.get("trailers"):
                self._pass("it has trailers")
            else:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(_PATIENCE, self._lose_patience)
        elif kind == "http.response.body":
            self._add(message.get("body", b""), more=message.get("more_body", False))
        elif kind != "http.response.debug":  # of test clients; it says nothing about the response
            self._pass(f"it is sent by {kind}")

    def _add(self, body: bytes, *, more: bool) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._size > self._cache.max_body:
            self._pass(f"its body is more than max_body={self._cache.max_body} bytes")
        elif not more and self._ruling.size not in (-1, self._size):
            self._pass("its body is not as long as it says")
        elif not more:
            self._complete()

    def _lose_patience(self) -> None:
        """Let pass what is held: between two parts of a body there may be minutes."""
        if not (self.handed or self._over):
            self._pass(f"its body takes longer than {_PATIENCE:g} s")

    def _hurry_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _complete(self) -> None:
        """Give the page to everybody."""
        start, ruling = self._start, self._ruling
        self._hurry_no_more()
        page = made(start["status"], start["headers"], b"".join(self._body), ruling.age)
        self.page = page
        self._over = True
        self._held.clear()
        self._adopted.set()
        if self._decided.done():
            return
        if ruling.shared:
            self._decided.set_exception(ServerError(page))
        else:
            tags = tuple(self._scope[TAGS])
            loaded: Loaded[Page | None] = Loaded(page, ttl=ruling.ttl, tags=tags)
            self._decided.set_result(loaded)

    def _pass(self, reason: str) -> None:
        """Give nothing to anybody but who asked."""
        self.handed = True
        self._hurry_no_more()
        self._body.clear()
        cache, key = self._cache, self._asked.key
        cache.client.emit(ResponseNotKept(key=cache.pages.key(key), reason=reason))
        if not self._decided.done():
            if self._ruling.shared or self._failed():
                self._decided.set_exception(ServerError(None))
            else:
                cache.let_pass(key, asyncio.get_running_loop().time())
                self._decided.set_result(Loaded(None, ttl=cache.pass_ttl))
        if self._left:
            self._end()

    def _failed(self) -> bool:
        return bool(self._held) and self._held[0].get("status", 0) >= 500

    # -- whom it runs for -----------------------------------------------------------------------

    def leave(self) -> None:
        """Say that nobody can be given the response any more, but by the cache."""
        self._left = True
        if self.handed and self._send is None:
            self._end()

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def hand_over(self, receive: Receive, send: Send) -> None:
        """Give the response to who asked for it, as it comes, until the application ends.

        Raises:
            Exception: What the application raises.
        """
        try:
            while self._held:
                await send(self._held.popleft())
            self._receive, self._send = receive, send
            self._adopted.set()
            await self.ended()
        except BaseException:
            self._end()
            raise

    async def ended(self) -> None:
        """Wait for the end of the application, which may go on when its response is complete.

        Raises:
            Exception: What it raises.
        """
        if self._task is None:
            return
        await asyncio.wait((self._task,))
        if not self._task.cancelled():
            error = self._task.result()
            if error is not None:
                raise error
