"""Limited routes of a FastAPI application."""

# -- limits
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from millpond import Client, Decision, Limiter, SlidingWindow
from millpond.ext.fastapi import client_address, install, limit

client = Client.from_url("redis://localhost:6379/0", prefix="shop")
per_minute = Limiter(client, "web", SlidingWindow(100, per=60))
paid = Limiter(client, "web", SlidingWindow(1000, per=60))
logins = Limiter(client, "login", SlidingWindow(5, per=300))

behind_one_proxy = client_address(trusted_hops=1)


def tier(request: Request) -> Limiter:
    return paid if request.headers.get("x-plan") == "paid" else per_minute


def is_health_check(request: Request) -> bool:
    return request.url.path == "/health"


app = FastAPI(dependencies=[Depends(limit(tier, key=behind_one_proxy, skip_when=is_health_check))])
install(app, client)


@app.get("/health")
async def health() -> str:
    return "ok"


Login = Annotated[Decision, Depends(limit(logins, key=behind_one_proxy, per_route=True))]


@app.post("/login")
async def login(decision: Login) -> dict[str, int]:
    return {"tries left": decision.remaining}


# -- end
