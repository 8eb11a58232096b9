"""The source of truth: products in a SQLite file, read and written in threads."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Database", "Product", "Transaction"]

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, name TEXT, price INTEGER);
INSERT OR IGNORE INTO products VALUES (1, 'kettle', 3900), (2, 'teapot', 5200), (3, 'cup', 700);
"""


class Product(BaseModel):
    """What the API takes and gives, and what the cache keeps."""

    name: str
    price: int = Field(ge=0, lt=2**63, description="In cents.")


class Transaction:
    """Writes that become visible to others when they are committed, and not before."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Write through a connection on which a transaction has begun."""
        self._connection = connection

    async def write(self, product_id: int, product: Product) -> None:
        """Insert a product, or replace it."""
        row = (product_id, product.name, product.price)
        insert = "INSERT OR REPLACE INTO products VALUES (?, ?, ?)"
        await asyncio.to_thread(self._connection.execute, insert, row)


class Database:
    """Products in a file."""

    def __init__(self, path: str) -> None:
        """Remember the file; nothing is opened yet."""
        self._path = path

    def create(self) -> None:
        """Make the table, with three products to begin with."""
        with closing(self._connect()) as connection:
            connection.executescript(SCHEMA)

    async def read(self, product_id: int) -> Product | None:
        """Read a product, on a connection of its own, as a loader must."""
        return await asyncio.to_thread(self._read, product_id)

    def _read(self, product_id: int) -> Product | None:
        query = "SELECT name, price FROM products WHERE id = ?"
        with closing(self._connect()) as connection:
            row = connection.execute(query, (product_id,)).fetchone()
        return None if row is None else Product(name=row[0], price=row[1])

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """Begin a transaction, and commit it when the block ends without an exception."""
        connection = await asyncio.to_thread(self._begin)
        try:
            yield Transaction(connection)
            await asyncio.to_thread(connection.commit)
        finally:
            connection.close()  # rolls back what was not committed

    def _begin(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
