"""No cache and no limit: what the web scenarios measure the others against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.source import Product, sample
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from benchmarks.subjects import Load

__all__ = ["SUBJECTS", "BareShop", "endpoint", "page"]


class BareShop:
    """Has every product at hand."""

    def __init__(self, url: str, *, tasks: int, ttl: float) -> None:
        """Need nothing."""
        del url, tasks, ttl

    async def open(self) -> None:
        """Connect to nothing."""

    async def aclose(self) -> None:
        """Have nothing to close."""

    def key(self, product_id: int, /) -> str:
        """Name a key that nobody writes."""
        return f"bare:{product_id}"

    async def fetch(self, product_id: int, load: Load, /) -> Product:
        """Make the product up."""
        del load
        return sample(product_id)

    async def store(self, product: Product, /) -> None:
        """Store nothing."""

    async def forget(self, product_id: int, /) -> bool:
        """Forget nothing."""
        del product_id
        return True


def endpoint(url: str) -> Any:
    """Make an application whose endpoint has no limit."""
    from fastapi import FastAPI

    del url
    app = FastAPI()

    @app.get("/limited")
    async def limited() -> dict[str, bool]:
        return {"ok": True}

    return app


def page(url: str) -> Any:
    """Make an application whose page is made anew for each request."""
    from fastapi import FastAPI

    del url
    app = FastAPI()

    @app.get("/products/{product_id}")
    async def product(product_id: int) -> dict[str, Any]:
        made = sample(product_id)
        return {"id": made.id, "name": made.name, "price_cents": made.price_cents}

    return app


SUBJECTS = (
    Subject(
        name="bare",
        summary="the same FastAPI handler without cache or limit",
        settings="FastAPI, uvicorn",
        roles={"shop": "BareShop", "endpoint": "endpoint", "page": "page"},
        versions=("fastapi", "starlette", "uvicorn", "httptools", "uvloop"),
        module="fastapi",
        requires="fastapi uvicorn httptools",
    ),
)
