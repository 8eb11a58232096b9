"""Pages of any ASGI application, which say themselves that they may be kept."""

from typing import Any

from millpond import Client
from millpond.ext.asgi import ResponseCache, ResponseCacheMiddleware


async def site(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    headers = [(b"cache-control", b"s-maxage=60"), (b"vary", b"accept-language")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": dict(scope["headers"])[b"accept-language"]})


# -- app
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
pages = ResponseCache(client, "page", ttl=3600, vary=["accept-language"], ignore=["cookie"])
app = ResponseCacheMiddleware(site, cache=pages)
# -- end
