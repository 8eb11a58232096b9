"""Rate limits of FastAPI's routes: a dependency, the answer 429, and its place in the schema."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI, HTTPException, routing
from starlette.requests import HTTPConnection, Request  # noqa: TC002  (FastAPI reads them)
from starlette.responses import JSONResponse, Response

from millpond.errors import ConfigError, LimitExceeded
from millpond.ext.addresses import client_address
from millpond.limit.limiter import Limiter, check_cost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from fastapi.dependencies.models import Dependant

    from millpond.core.keys import Key
    from millpond.limit.concurrency import Full
    from millpond.limit.decision import Decision

__all__ = ["TooManyRequests", "answer_denial", "describe_limits", "limit"]

_TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
_TITLE = "Request cannot be satisfied as assigned quota has been exceeded"
_MARK = "__millpond_limit__"
_LEFT = b"x-ratelimit-remaining"


class TooManyRequests(HTTPException):
    """What the dependency raises; an application may handle it as it likes.

    Attributes:
        decision: The denial.
    """

    def __init__(self, decision: Decision, *, legacy: bool = False) -> None:
        """Prepare status, text and headers."""
        super().__init__(429, _said(decision), headers=decision.headers(legacy=legacy))
        self.decision = decision


def limit(
    limiter: Limiter | Callable[[Request], Limiter | Awaitable[Limiter]],
    *,
    key: Callable[[Request], Key | Awaitable[Key]] | None = None,
    cost: int | Callable[[Request], int | Awaitable[int]] = 1,
    skip_when: Callable[[Request], bool | Awaitable[bool]] | None = None,
    per_route: bool = False,
    legacy_headers: bool = False,
) -> Callable[[HTTPConnection, Response], Coroutine[Any, Any, Decision | None]]:
    """Make a dependency that hits a limiter, and answers 429 when it denies.

    `dependencies=[Depends(limit(per_minute))]` of a route, a router or the application; or, where
    the handler wants to know, `decision: Annotated[Decision | None, Depends(...)]`. What is
    admitted carries the `RateLimit` headers too, unless the handler returns a `Response` of its
    own or raises. `install(app, client)` makes the body RFC 9457 and puts the 429 into the schema;
    without it the body is FastAPI's usual `{"detail": ...}`.

    WebSocket routes are limited as well, where they are opened: the functions then get the
    WebSocket for a request.

    Args:
        limiter: The limiter, or a function that chooses one for the request, such as by tier;
            awaited if need be, as are the others.
        key: A function of the request. Default: the address of the
            connection; behind proxies `client_address(trusted_hops=...)`.
        cost: What a request counts for, or a function of the request.
        skip_when: Requests for which this is true are not counted: health checks, say.
        per_route: Count each route by itself, by its path as declared and its method; otherwise
            all routes with this limiter count together.
        legacy_headers: Add `X-RateLimit-Limit`, `-Remaining` and `-Reset`: of several limits, those
            of the one that has least left.

    Raises:
        ConfigError: `limiter` is none, a cost that cannot be, or something else than a function.
    """
    if not isinstance(limiter, Limiter) and not callable(limiter):
        raise ConfigError(
            "limit() takes a Limiter, or a function that gives one for a request, "
            f"not {type(limiter).__name__}"
        )
    for name, given in (("key", key), ("skip_when", skip_when)):
        if given is not None and not callable(given):
            raise ConfigError(
                f"limit(): {name} must be a function of the request, not {given!r}; "
                "for a fixed key write key=lambda request: 'everybody'"
            )
    if not callable(cost):
        check_cost(cost)
    identify = key if key is not None else client_address()

    async def limited(request: HTTPConnection, response: Response) -> Decision | None:
        asked: Any = request  # a Request, or a WebSocket
        if skip_when is not None and await _value(skip_when(asked)):
            return None
        who: Any = identify(asked)
        if type(who) is not str and inspect.isawaitable(who):
            who = await who
        if per_route:
            rest = cast("tuple[Any, ...]", who) if isinstance(who, tuple) else (who,)
            who = (request.scope.get("method", "WEBSOCKET"), _path(request), *rest)
        chosen = limiter if isinstance(limiter, Limiter) else await _value(limiter(asked))
        price = check_cost(await _value(cost(asked)) if callable(cost) else cost)
        # As `chosen.hit` has it, without a coroutine of its own: while the answer is on its way,
        # each of those that wait is one more that the garbage collector looks through.
        decision = chosen.near_denial(who, price)
        if decision is None:
            decision = await chosen.desk.hit(chosen.key(who), who, price)
        if not decision.allowed:
            raise TooManyRequests(decision, legacy=legacy_headers)
        _tell(response.raw_headers, decision, legacy=legacy_headers)
        return decision

    setattr(limited, _MARK, True)
    return limited


def _tell(raw: list[tuple[bytes, bytes]], decision: Decision, *, legacy: bool) -> None:
    """Add a decision's headers to those of other limits of the same route.

    The draft's are lists, which may come in parts. The older ones are single numbers: of two
    limits, clients are told about the one that has least left.
    """
    raw.append(decision.rules.raw_header)
    raw.append((b"ratelimit", decision.quota_header().encode()))
    if legacy:
        left = next((int(value) for name, value in raw if name == _LEFT), None)
        mine = [
            (name.lower().encode(), value.encode())
            for name, value in decision.headers(legacy=True).items()
            if name.startswith("X-")
        ]
        if left is None or int(dict(mine)[_LEFT]) < left:
            raw[:] = [pair for pair in raw if not pair[0].startswith(b"x-ratelimit-")] + mine


async def _value(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given


def _path(request: HTTPConnection) -> str:
    """Return the route's path as declared; of routers that were included, with their prefix."""
    scope = request.scope
    context = scope.get("fastapi", {}).get("effective_route_context")
    route = context if context is not None else scope.get("route")
    return cast("str", getattr(route, "path", None) or scope["path"])


# -- the answer ------------------------------------------------------------------------------------


def describe_limits(app: FastAPI) -> None:
    """Answer denials by RFC 9457, and put them into the application's OpenAPI schema.

    `install` does it; call it for an application whose client is opened elsewhere. Handlers that
    the application has for `TooManyRequests` or `LimitExceeded` are left in place.
    """
    app.exception_handlers.setdefault(TooManyRequests, answer_denial)
    app.exception_handlers.setdefault(LimitExceeded, answer_denial)
    if getattr(app.openapi, _MARK, False):
        return
    original = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        for path, methods, dependant in _routes(app.routes):
            if _is_limited(dependant):
                for method in methods:
                    operation = schema.get("paths", {}).get(path, {}).get(method.lower())
                    if operation is not None:
                        operation.setdefault("responses", {}).setdefault("429", _RESPONSE)
        return schema

    setattr(openapi, _MARK, True)
    app.openapi = openapi


async def answer_denial(_: Request, error: Exception) -> Response:
    """Answer 429 with what `TooManyRequests` or `LimitExceeded` carries."""
    denied = cast("Decision | Full", cast("Any", error).decision)
    headers = error.headers if isinstance(error, TooManyRequests) else denied.headers()
    wait = denied.retry_after
    body: dict[str, object] = {
        "type": _TYPE,
        "title": _TITLE,
        "status": 429,
        "detail": str(getattr(error, "detail", None) or _said(denied)),
        "violated-policies": denied.violated,
        "retry-after": None if wait is None else round(wait, 3),
    }
    return JSONResponse(body, 429, headers, media_type="application/problem+json")


def _said(denied: Decision | Full) -> str:
    """Say to people when to try again."""
    wait = denied.retry_after
    if wait is None:
        return "This request costs more than the limit ever allows."
    return f"Too many requests: try again in {wait:.3f} seconds."


_HEADERS = {
    "Retry-After": "Seconds until the same request would be admitted, rounded up.",
    "RateLimit": "What is left of each policy, and the seconds until all of it is there again.",
    "RateLimit-Policy": "Each policy: its quota and its window in seconds.",
}
_RESPONSE = {
    "description": "Too Many Requests",
    "headers": {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    },
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "const": _TYPE},
                    "title": {"type": "string"},
                    "status": {"type": "integer", "const": 429},
                    "detail": {"type": "string"},
                    "violated-policies": {"type": "array", "items": {"type": "string"}},
                    "retry-after": {"type": ["number", "null"]},
                },
                "required": ["type", "title", "status", "detail"],
            }
        }
    },
}


def _routes(routes: Iterable[Any]) -> Iterable[tuple[str, Iterable[str], Dependant]]:
    """Give path, methods and dependencies of every route, however FastAPI keeps those included."""
    every = cast("Any", getattr(routing, "iter_route_contexts", iter))(routes)
    for route in every:
        dependant = getattr(route, "dependant", None)
        methods = getattr(route, "methods", None)
        if dependant is not None and methods:
            yield route.path_format, methods, dependant


def _is_limited(dependant: Dependant) -> bool:
    if getattr(dependant.call, _MARK, False):
        return True
    return any(_is_limited(inner) for inner in dependant.dependencies)
