"""An order is paid under a lock that is lost before the commit: the late write is refused."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from millpond import Client, LockLost, Locks

# -- locks
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
locks = Locks(client, "order", lease=0.5)


class StaleFence(Exception):
    """Somebody who held the lock later has written already."""


def commit(database: Path, order_id: int, receipt: str, fence: int) -> None:
    with sqlite3.connect(database) as db:
        done = db.execute(
            "UPDATE orders SET receipt = ?, fence = ? WHERE id = ? AND fence < ?",
            (receipt, fence, order_id, fence),
        )
    if done.rowcount == 0:
        raise StaleFence(order_id)


# -- pay
def charge_and_commit(database: Path, order_id: int, receipt: str, fence: int, took: float) -> None:
    time.sleep(took)  # the payment provider, in a thread: no cancellation reaches it
    commit(database, order_id, receipt, fence)


async def pay(database: Path, order_id: int, receipt: str, took: float) -> None:
    async with locks.hold(order_id, wait=5) as held:
        await asyncio.to_thread(charge_and_commit, database, order_id, receipt, held.fence, took)


# -- end


async def main() -> list[str]:
    said: list[str] = []
    threading.excepthook = lambda _: None
    with TemporaryDirectory() as folder:
        database = Path(folder) / "shop.db"
        with sqlite3.connect(database) as db:
            db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, receipt TEXT, fence INTEGER)")
            db.execute("INSERT INTO orders VALUES (7, NULL, 0)")
        async with client:
            slow = asyncio.create_task(pay(database, 7, "first", took=1.0))
            await asyncio.sleep(0.1)
            await client.call("DEL", locks.key(7))  # the lock is lost: here by an operator
            await pay(database, 7, "second", took=0)
            try:
                await slow
            except LockLost as error:
                said.append(f"the first payer was told: {error.reason}")
            await asyncio.sleep(1.2)  # its thread, which nobody could cancel, commits now
        with sqlite3.connect(database) as db:
            said += [row[0] for row in db.execute("SELECT receipt FROM orders")]
    return said


if __name__ == "__main__":
    print(*asyncio.run(main()), sep="\n")
