"""Keys without a connection: what a cache calls its entries."""

import enum
from datetime import date
from uuid import UUID

from millpond import Cache, Client


class Plan(enum.Enum):
    FREE = "free"


# -- keys
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
users = Cache(client, "user", type=dict, ttl=300)

assert users.key(42) == "shop:user:42"
assert users.key("42") == users.key(42)  # path parameters arrive as text
assert users.key(("orders", 42, date(2026, 1, 31))) == "shop:user:orders:42:2026-01-31"
assert users.key(UUID(int=7)) == "shop:user:00000000-0000-0000-0000-000000000007"
assert users.key(Plan.FREE) == "shop:user:free"
assert users.key("a:b") == "shop:user:a%3Ab"
assert users.key(("a", "b")) == "shop:user:a:b"
assert users.key("{tag} 100%") == "shop:user:%7Btag%7D%20100%25"
assert users.key("") == "shop:user:%"
assert users.key(("a",)) == "shop:user:a:"
assert users.key("é") == "shop:user:é"
# -- end
