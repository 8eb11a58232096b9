"""One handler that turns what millpond raises into HTTP statuses."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from millpond import Cache, CachePolicy, Client, MillpondError
from millpond.ext.fastapi import install

client = Client.from_url("redis://localhost:6379/0", prefix="shop")
reports = Cache(
    client,
    "report",
    type=dict[str, int],
    ttl=60,
    policy=CachePolicy(on_unavailable="raise"),
)
app = FastAPI()
install(app, client)


async def build_report() -> dict[str, int]:
    return {"orders": 7}


# -- handler
@app.exception_handler(MillpondError)
async def answer(_: Request, error: MillpondError) -> JSONResponse:
    return JSONResponse({"detail": type(error).__name__}, status_code=error.status_hint)


# -- end


@app.get("/report")
async def read_report() -> dict[str, int]:
    return await reports.get_or_set("today", build_report)
