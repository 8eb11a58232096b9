"""One key of a limiter under a clock that is set at will."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millpond.limit.programs import REFUND, deciding
from tests.support.limits import CLOCK, fake_time

if TYPE_CHECKING:
    from millpond import Client
    from millpond.core.commands import Arg
    from millpond.limit.policies import Policy

__all__ = ["NOON", "SECOND", "Bench"]

NOON = 1_700_000_000_000_000
SECOND = 1_000_000


class Bench:
    """One key under a clock that is set at will."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def at(self, now: int) -> None:
        text = f"{now // SECOND} {now % SECOND}"
        await self.client.call("SET", CLOCK, text, "PX", 600_000)

    async def hit(
        self, now: int, policy: Policy, *costs: int, mode: str = "hit"
    ) -> list[list[int]]:
        await self.at(now)
        costs = costs or (1,)
        vector = (*(-cost for cost in costs[:-1]), costs[-1])
        reply = await self.client.run(
            fake_time(deciding(policy.kind)),
            keys=["{k}:block", f"{{k}}:{policy.label}"],
            args=[mode, 1, 1, *policy.numbers, *vector],
        )
        assert reply[0] == now
        return [reply[at : at + 4] for at in range(1, len(reply), 4)]

    async def refund(self, now: int, policy: Policy, when: int, cost: int = 1) -> int:
        await self.at(now)
        return await self.client.run(
            fake_time(REFUND), keys=[f"{{k}}:{policy.label}"], args=[when, cost, *policy.numbers]
        )

    async def admitted(self, policy: Policy, every: int, seconds: int) -> list[int]:
        """Hit at even distances, and give the moments of those that were admitted."""
        commands: list[tuple[Arg, ...]] = []
        script = fake_time(deciding(policy.kind))
        moments = range(NOON, NOON + seconds * SECOND, every)
        for now in moments:
            commands.append(("SET", CLOCK, f"{now // SECOND} {now % SECOND}", "PX", 600_000))
            keys = ("{k}:block", f"{{k}}:{policy.label}")
            commands.append(("EVAL", script.source, 2, *keys, "hit", 1, 1, *policy.numbers, 1))
        replies = (await self.client.pipeline(commands))[1::2]
        return [now for now, reply in zip(moments, replies, strict=True) if reply[1] == 0]
