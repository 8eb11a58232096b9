"""A lock inside a FastAPI handler."""

from fastapi import FastAPI, HTTPException

from millpond import Client, Locks, LockTimeout
from millpond.ext.fastapi import install

stock = {"kettle": 1}

# -- handler
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
locks = Locks(client, "stock")
app = FastAPI()
install(app, client)


@app.post("/orders/{product}")
async def order(product: str) -> dict[str, int]:
    try:
        async with locks.hold(product, wait=2) as held:
            left = stock.get(product, 0)
            if not left:
                raise HTTPException(409, "sold out")
            held.ensure_held()  # right before what must not be done twice
            stock[product] = left - 1
    except LockTimeout:
        raise HTTPException(503, "busy", {"Retry-After": "1"}) from None
    return {"left": left - 1}


# -- end
