"""Another process that uses a library, told what to do in JSON lines.

python -m tests.peers.member SUBJECT URL

It says `{"ready": true}` once it is open; then, for each order `{"key", "value", "seconds",
"fail", "callers"}`, it asks for the key with so many callers at once, whose loader takes so long
and then returns the value or raises. `{"loading": true}` goes out when the loader is first called,
and at the end `{"values", "errors", "loads", "took"}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from tests.peers.subjects import SUBJECTS

__all__: list[str] = []


def say(**message: object) -> None:
    """Write one line."""
    print(json.dumps(message), flush=True)


async def obey(peer: Any, order: dict[str, Any]) -> None:
    """Ask with so many callers, and say what became of them."""
    loads = 0

    async def load() -> Any:
        nonlocal loads
        loads += 1
        if loads == 1:
            say(loading=True)
        await asyncio.sleep(order["seconds"])
        if order["fail"]:
            raise ValueError("the source of truth failed")
        return order["value"]

    began = time.monotonic()
    results = await asyncio.gather(
        *(peer.get_or_compute(order["key"], load) for _ in range(order["callers"])),
        return_exceptions=True,
    )
    errors = [repr(one) for one in results if isinstance(one, BaseException)]
    values = [one for one in results if not isinstance(one, BaseException)]
    say(values=values, errors=errors, loads=loads, took=time.monotonic() - began)


async def main(name: str, url: str) -> None:
    """Open the library and obey until the input ends."""
    loop = asyncio.get_running_loop()
    async with SUBJECTS[name].adapter()(url) as peer:
        say(ready=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await obey(peer, json.loads(line))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
