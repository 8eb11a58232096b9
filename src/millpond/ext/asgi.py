"""ASGI: whole responses from a cache, in front of any application.

In an application::

    pages = ResponseCache(client, "page", ttl=60, hosts=["shop.example"])

    app = FastAPI()
    install(app, client)
    app.add_middleware(ResponseCacheMiddleware, cache=pages, paths=["/products/{product_id}"])

and after a write `await pages.delete("/products/42")`. Where there is no
`add_middleware`, wrap the application: `app = ResponseCacheMiddleware(app, cache=pages)`.

`millpond.ext.fastapi` and `millpond.ext.starlette` export the same. No framework is imported.
"""

from __future__ import annotations

from millpond.ext.asgi_cache import ResponseCache
from millpond.ext.asgi_middleware import ResponseCacheMiddleware, tag_response

__all__ = ["ResponseCache", "ResponseCacheMiddleware", "tag_response"]
