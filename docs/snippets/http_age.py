"""A handler whose answers may be kept downstream, exactly as long as they are fresh here."""

from fastapi import FastAPI, Response
from pydantic import BaseModel

from millpond import Cache, Client
from millpond.ext.fastapi import install


class Rates(BaseModel):
    euro: float


async def load_rates() -> Rates:
    return Rates(euro=1.0)


client = Client.from_url("redis://localhost:6379/0", prefix="shop")

# -- handler
rates = Cache(client, "rates", type=Rates, ttl=60)
app = FastAPI()
install(app, client)


@app.get("/rates")
async def read_rates(response: Response) -> Rates:
    entry = await rates.get_or_set_entry("all", load_rates)
    response.headers["Age"] = str(int(entry.age))
    response.headers["Cache-Control"] = f"max-age={int(entry.age + entry.fresh_for)}"
    return entry.value


# -- end
