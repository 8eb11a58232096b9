"""A hook that counts events for a metrics system, beside the logging that is there by default."""

import asyncio
from collections import Counter

from millpond import Cache, Client, Event, LoadFinished, log_events


# -- hook
class Metrics:
    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.seconds_loading = 0.0

    def __call__(self, event: Event) -> None:
        self.events[type(event).__name__] += 1  # the class is a label; a key never is
        if isinstance(event, LoadFinished):
            self.seconds_loading += event.seconds


metrics = Metrics()
client = Client.from_url("redis://localhost:6379/0", prefix="shop", hooks=[log_events, metrics])
# -- end

users = Cache(client, "user", type=str, ttl=300)


async def load() -> str:
    return "ada"


async def main() -> None:
    async with client:
        await users.get_or_set(42, load)
    print(dict(metrics.events))


if __name__ == "__main__":
    asyncio.run(main())
