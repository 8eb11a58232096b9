"""What is said on a new connection before callers may use it.

`HELLO 3` (RESP3 is what carries pushes), authentication, the database, then who the server is.
On a reconnect to a server that has not restarted, the old connection is killed *first*:
commands of a dead connection can still run after those of its successor, when a proxy or a
kernel had held them back (seen: a SET that landed after a later DEL). Client ids restart with
the server, so the kill is sent only when the run id is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from millpond.errors import BackendUnavailable, ConfigError, ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.core.address import Address
    from millpond.core.commands import Arg
    from millpond.core.wire import Wire

__all__ = ["Greeting", "greet"]

OLDEST = (6, 2)


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """What the server said of itself."""

    server: str  # "valkey 9.1.2"
    run_id: str  # "": not told
    replication_id: str  # "": not told
    client_id: int  # 0: not told
    resp3: bool
    push: bool  # whether CLIENT TRACKING could be switched on

    def same_history(self, later: Greeting) -> bool:
        """Tell whether what this server acknowledged is known to have happened to a later one.

        A restart changes the run id; a full synchronisation from another master, the replication
        id.
        """
        return self.run_id == later.run_id != "" and self.replication_id == later.replication_id


async def greet(
    wire: Wire,
    address: Address,
    *,
    name: str | None,
    before: Greeting | None,
    limited: Callable[[str, str], None],
) -> Greeting:
    """Introduce ourselves; the connection is ready for callers afterwards.

    Args:
        wire: A fresh connection.
        address: Credentials and database.
        name: For CLIENT LIST; None: none.
        before: What the last connection was told, to end it if it still lives.
        limited: Told (subject, consequence) of what the server or its ACL lacks.

    Raises:
        ConfigError: Wrong or missing password, unknown database, a server older than 6.2.
        BackendError: Anything that may pass.
    """
    ask = _Asker(wire)
    resp3 = await _hello(ask, address, name, limited)
    if address.db:
        try:
            await ask("SELECT", address.db)
        except ReplyError as error:
            raise ConfigError(f"Redis at {address}: database {address.db}: {error}") from error
    server, run_id = await _identify(ask, address)
    try:
        client_id = await ask("CLIENT", "ID")
    except ReplyError:
        client_id = 0
    if before is not None and before.client_id and before.run_id == run_id:
        await _end_old(ask, before, limited)
    push = resp3 and await _track(ask, limited)
    await _ping(ask)
    return Greeting(
        server=server,
        run_id=run_id,
        replication_id=await _replication_id(ask),
        client_id=client_id,
        resp3=resp3,
        push=push,
    )


class _Asker:
    """Send one command and wait for its reply, past the checks made for callers."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def __call__(self, *args: Arg) -> Any:
        future = self._wire.new_future()
        self._wire.exchange.group([args], (future,))
        return await future


async def _hello(
    ask: _Asker, address: Address, name: str | None, limited: Callable[[str, str], None]
) -> bool:
    login: list[Arg] = []
    if address.password is not None:
        login = ["AUTH", address.username or "default", address.password]
    called: list[Arg] = ["SETNAME", name] if name else []
    try:
        await ask("HELLO", 3, *login, *called)
    except ReplyError as error:
        # A server without HELLO says NOAUTH to it when it wants a password: then AUTH comes next.
        if error.code != "NOAUTH" or not login:
            _complain_of_password(address, error)
        if error.code == "DENIED" or "max number of clients" in str(error):
            raise  # it says this to everything, and hangs up
        # The reply is not quoted: a proxy may echo the command, and with it the password.
        limited("push", f"RESP3 is refused ({error.code}): waiting polls, no near cache")
    else:
        return True
    try:
        if login:
            words = login[1:] if address.username else [login[2]]
            await ask("AUTH", *words)
        if name:
            await ask("CLIENT", "SETNAME", name)
    except ReplyError as error:
        _complain_of_password(address, error)
        raise
    return False


def _complain_of_password(address: Address, error: ReplyError) -> None:
    text = str(error)
    if error.code == "WRONGPASS" or "invalid password" in text:
        raise ConfigError(
            f"Redis at {address} refused the user name or password; check the URL, "
            "redis://user:password@host:port/0 (special characters percent-encoded)"
        ) from error
    if "without any password configured" in text:
        raise ConfigError(
            f"Redis at {address} has no password set, but the URL gives one; remove it"
        ) from error
    if error.code == "NOAUTH":
        raise ConfigError(
            f"Redis at {address} wants a password; put it into the URL: "
            "redis://user:password@host:port/0 (redis://:password@host without a user)"
        ) from error


async def _identify(ask: _Asker, address: Address) -> tuple[str, str]:
    """Read the server's name, version and run id, and refuse servers that are too old."""
    try:
        text = await ask("INFO", "server")
    except ReplyError as error:
        _complain_of_password(address, error)
        if error.code in {"NOPERM", "ERR"}:  # an ACL, or a proxy that does not know INFO
            return "unknown", ""
        raise
    if not isinstance(text, bytes):
        raise BackendUnavailable(f"what listens at {address} does not answer like Redis")
    fields = _fields(text)
    version = fields.get("redis_version")
    if version is None:
        return "unknown", ""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST:
        raise ConfigError(
            f"Redis at {address} is version {version}; millpond needs 6.2 or newer: "
            "upgrade the server (Redis 6.0 and older are no longer maintained)"
        )
    name = fields.get("server_name", "redis")
    shown = fields.get(f"{name}_version", version)
    return f"{name} {shown}", fields.get("run_id", "")


async def _replication_id(ask: _Asker) -> str:
    """Read which history of writes the server continues; `""` if it does not say."""
    try:
        text = await ask("INFO", "replication")
    except ReplyError:
        return ""
    return _fields(text).get("master_replid", "") if isinstance(text, bytes) else ""


def _fields(text: bytes) -> dict[str, str]:
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


async def _end_old(ask: _Asker, before: Greeting, limited: Callable[[str, str], None]) -> None:
    refusal = "INFO does not tell the run id (+info)"
    if before.run_id:  # without it, the id might be a stranger's by now
        try:
            await ask("CLIENT", "KILL", "ID", before.client_id)
        except ReplyError as error:
            refusal = f"CLIENT KILL is refused (+client|kill): {error}"
        else:
            return
    limited("kill", f"{refusal}: a write delayed on a lost connection may land after later ones")


async def _track(ask: _Asker, limited: Callable[[str, str], None]) -> bool:
    try:
        await ask("CLIENT", "TRACKING", "ON", "OPTIN")
    except ReplyError as error:
        limited("push", f"CLIENT TRACKING is refused ({error}): waiting polls, no near cache")
        return False
    return True


async def _ping(ask: _Asker) -> None:
    """Make sure that the server serves: PING answers LOADING and MASTERDOWN where HELLO not."""
    try:
        await ask("PING")
    except ReplyError as error:
        if error.code != "NOPERM":
            raise BackendUnavailable(str(error)) from error
