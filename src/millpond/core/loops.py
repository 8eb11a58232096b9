"""Which event loop runs, and whether it is the one that a client is open on."""

from __future__ import annotations

import asyncio

from millpond.errors import ConfigError

__all__ = ["ANOTHER_LOOP", "current_loop", "running_loop", "stay_on"]

ANOTHER_LOOP = (
    "this client is open on another event loop; make a client for each loop, "
    "or close it there first"
)


def current_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop.

    Raises:
        ConfigError: None is running here.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise ConfigError(
            "millpond needs a running asyncio event loop: call it inside `async def`; under trio "
            "it does not work"
        ) from error


def stay_on(loop: asyncio.AbstractEventLoop) -> None:
    """Refuse to be used from elsewhere than `loop`.

    Raises:
        ConfigError: Another loop runs here, or none.
    """
    if running_loop() is not loop:
        raise ConfigError(ANOTHER_LOOP)
