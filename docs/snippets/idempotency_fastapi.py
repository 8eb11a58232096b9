"""A payment that is made once, however often its request is sent."""

import itertools
from typing import Annotated

import msgspec
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from millpond import Client, FingerprintMismatch, Idempotency, MillpondError, Run, RunInProgress
from millpond.ext.fastapi import install

numbers = itertools.count(1)
charged: dict[str, int] = {}  # cents, by account
fences: dict[str, int] = {}  # the highest under which something was done, by key


class Refused(Exception):
    """The provider says no; asking again later may help."""


# -- handler
class Receipt(msgspec.Struct):
    number: int
    cents: int


class Order(BaseModel):
    account: str
    cents: int = Field(gt=0)


SentKey = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
payments = Idempotency(client, "pay", type=Receipt, ttl=86_400)
app = FastAPI()
install(app, client)


async def charge(order: Order, key: str, fence: int) -> Receipt:  # may be slow, or refuse
    if order.cents > 1_000_000 or fence < fences.get(key, 0):
        raise Refused
    fences[key] = fence
    charged[order.account] = charged.get(order.account, 0) + order.cents
    return Receipt(next(numbers), order.cents)


@app.post("/payments")
async def pay(order: Order, sent_key: SentKey) -> JSONResponse:
    async def once(run: Run) -> Receipt:
        return await charge(order, sent_key, run.fence)

    receipt = await payments.run_once(
        (order.account, sent_key),  # one sender's keys are nothing to another
        once,
        fingerprint=order.model_dump_json(),
    )
    return JSONResponse(msgspec.to_builtins(receipt), status_code=201)


@app.exception_handler(RunInProgress)
async def in_progress(_: Request, error: RunInProgress) -> JSONResponse:
    detail = "the first request is still being carried out"
    return JSONResponse({"detail": detail}, error.status_hint, {"Retry-After": "1"})  # 409


@app.exception_handler(FingerprintMismatch)
async def mismatch(_: Request, error: FingerprintMismatch) -> JSONResponse:
    detail = "this Idempotency-Key was used for another request"
    return JSONResponse({"detail": detail}, error.status_hint)  # 422


@app.exception_handler(MillpondError)
async def unavailable(_: Request, error: MillpondError) -> JSONResponse:
    return JSONResponse({"detail": "try again"}, error.status_hint)  # 503: nothing was charged


# -- end


@app.exception_handler(Refused)
async def refused(_: Request, __: Refused) -> JSONResponse:
    return JSONResponse({"detail": "refused"}, 402)
