"""Pages of a shop that are kept whole, and deleted when what they show is written."""

from fastapi import FastAPI, Request, Response

from millpond import Client
from millpond.ext.fastapi import ResponseCache, ResponseCacheMiddleware, install, tag_response

prices = {42: 500}

# -- pages
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
pages = ResponseCache(client, "page", ttl=60, hosts=["shop.example"], query=["page"])

app = FastAPI()
install(app, client)
app.add_middleware(
    ResponseCacheMiddleware, cache=pages, paths=["/products", "/products/{product_id}"]
)


@app.get("/products/{product_id}")
async def show(product_id: int) -> dict[str, int]:
    return {"id": product_id, "price": prices[product_id]}


@app.put("/products/{product_id}")
async def change(product_id: int, price: int) -> None:
    prices[product_id] = price  # and commit
    await pages.delete(f"/products/{product_id}")
    await pages.delete_tags("products")


# -- list
@app.get("/products")
async def show_all(request: Request, response: Response, page: int = 1) -> list[int]:
    tag_response(request, "products")
    response.headers["Cache-Control"] = "s-maxage=10, max-age=0"
    return list(prices)[10 * (page - 1) : 10 * page]


# -- end
