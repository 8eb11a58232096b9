"""The source of truth: a real SQLite file of 100,000 products, and the time an answer takes.

`Catalogue.load` runs a real query, a few milliseconds of CPU in a worker thread, and then awaits
until the load has taken its whole delay. The awaited part stands for a slow upstream, and it is
awaited so that a thousand unprotected loads fit on two cores at all: a thousand queries of
200 ms of CPU each would take them 100 seconds.

Versions are what the write race counts: `raise_version` commits a higher one, and a load reads
row and ranking in one transaction that begins inside the load.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PRODUCTS", "Catalogue", "Product", "build", "sample"]

PRODUCTS = 100_000
_DEPARTMENTS = 32  # the ranking reads all 3,125 descriptions of one: about 3 ms

_ADJECTIVES = ("quiet", "narrow", "heavy", "amber", "folding", "woven", "glazed", "little")
_MATERIALS = ("oak", "linen", "copper", "slate", "walnut", "felt", "birch", "enamel", "cork")
_THINGS = ("kettle", "lamp", "stool", "basket", "clock", "bench", "jug", "shelf", "mirror")

_SCHEMA = """
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    department INTEGER NOT NULL,
    price_cents INTEGER NOT NULL,
    version INTEGER NOT NULL
)
"""
_ROW = """
SELECT id, name, description, department, price_cents, version FROM products WHERE id = ?
"""
_RANKING = """
SELECT count(*), coalesce(avg(price_cents), 0) FROM products
WHERE department = ? AND description LIKE '%' || ? || '%'
"""


class Product(msgspec.Struct, frozen=True):
    """What the pages show and the caches hold: about 200 bytes encoded."""

    id: int
    name: str
    description: str
    department: int
    price_cents: int
    version: int
    similar: int
    similar_average_cents: int


def sample(product_id: int) -> Product:
    """Make up a product without a database, for scenarios that only read the cache."""
    adjective, material, thing = _words(product_id)
    return Product(
        id=product_id,
        name=f"{adjective} {material} {thing}",
        description=_description(adjective, material, thing),
        department=product_id % _DEPARTMENTS,
        price_cents=990 + product_id % 9_000,
        version=1,
        similar=product_id % 211,
        similar_average_cents=4_250,
    )


def build(path: Path, products: int = PRODUCTS) -> None:
    """Write the database: the same bytes of content on every machine; about a second.

    Args:
        path: A file that does not exist yet.
        products: How many rows.
    """
    prices = random.Random(20)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_SCHEMA)
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO products VALUES (?, ?, ?, ?, ?, 1)",
            (
                (
                    number,
                    " ".join(words := _words(number)),
                    _description(*words),
                    number % _DEPARTMENTS,
                    prices.randrange(500, 50_000),
                )
                for number in range(1, products + 1)
            ),
        )
        # Departments are found by index; the words inside a description are not.
        connection.execute("CREATE INDEX departments ON products (department)")
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


class Catalogue:
    """Reads and writes of one database file from one process.

    Queries run in asyncio's worker threads, one connection each, as they would under any async
    framework; nothing here blocks the event loop.
    """

    def __init__(self, path: Path, *, delay: float) -> None:
        """Take the file; nothing is opened yet.

        Args:
            path: What `build` wrote.
            delay: Seconds a load takes in all, the query included.
        """
        self._path = path
        self._delay = delay
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    async def load(self, product_id: int) -> Product:
        """Query one product and its ranking, then await the rest of the delay.

        Raises:
            LookupError: No such product.
        """
        begun = time.monotonic()
        product = await asyncio.to_thread(self._query, product_id)
        await asyncio.sleep(max(0.0, begun + self._delay - time.monotonic()))
        return product

    async def raise_version(self, product_id: int) -> int:
        """Commit the product's next version and return it."""
        return await asyncio.to_thread(self._raise_version, product_id)

    def close(self) -> None:
        """Close every thread's connection; no call may be running."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _query(self, product_id: int) -> Product:
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            row: tuple[int, str, str, int, int, int] | None
            row = connection.execute(_ROW, (product_id,)).fetchone()
            if row is None:
                raise LookupError(f"no product {product_id}")
            material = row[1].split()[1]
            similar, average = connection.execute(_RANKING, (row[3], material)).fetchone()
        finally:
            connection.execute("COMMIT")
        return Product(*row, similar=similar, similar_average_cents=round(average))

    def _raise_version(self, product_id: int) -> int:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE products SET version = version + 1 WHERE id = ?", (product_id,))
        row: tuple[int, str, str, int, int, int] | None
        row = connection.execute(_ROW, (product_id,)).fetchone()
        connection.execute("COMMIT")
        if row is None:
            raise LookupError(f"no product {product_id}")
        return row[-1]

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path,
                timeout=10.0,
                isolation_level=None,
                # `close` runs on another thread, when no query does.
                check_same_thread=False,
            )
            connection.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = connection
            self._connections.append(connection)
        return connection


def _words(number: int) -> tuple[str, str, str]:
    return (
        _ADJECTIVES[number % len(_ADJECTIVES)],
        _MATERIALS[number // 7 % len(_MATERIALS)],
        _THINGS[number // 61 % len(_THINGS)],
    )


def _description(adjective: str, material: str, thing: str) -> str:
    return f"A {adjective} {thing}, made by hand; {material} from the yard beside the mill"
