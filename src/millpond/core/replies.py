"""Error replies of the server, mapped to millpond's exceptions in this one place."""

from __future__ import annotations

import re

from millpond.errors import BackendError, BackendUnavailable, ReplyError

__all__ = ["refine"]

# The server is there but cannot serve: the same to callers as if it were gone.
_UNAVAILABLE = frozenset(("LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN"))
# Redis 6.2 wraps what a command inside a script was refused with; later servers do not.
_WRAPPED = re.compile(
    r"^ERR Error running script .*?"
    r"-?((?:OOM|READONLY|MISCONF|BUSY|NOREPLICAS|NOPERM|WRONGTYPE) .*)",
    re.DOTALL,
)
# From Redis 7.0 on, what a script was refused does not bear the code of refusals; 7.0 does not
# even name the command.
_REFUSED = re.compile(
    r"^ERR (The user executing the script can't .*|ACL failure in script: .*)", re.DOTALL
)
_COMMAND = re.compile(r"'([^']+)' command")


def refine(reply: ReplyError) -> BackendError:
    """Give an error reply its class, and a permission error the rule that is missing."""
    wrapped = _WRAPPED.match(str(reply))
    if wrapped is not None:
        reply = ReplyError(wrapped[1])
    refused = _REFUSED.match(str(reply))
    if refused is not None:
        reply = ReplyError(f"NOPERM {refused[1]}")
    code = reply.code
    if code in _UNAVAILABLE:
        return BackendUnavailable(f"Redis cannot serve now: {reply}")
    if code == "MOVED":
        return ReplyError(f"{reply} (this is a node of a Cluster, which is not supported yet)")
    if code == "NOPERM":
        return ReplyError(f"{reply} ({_missing_rule(str(reply))})")
    return reply


def _missing_rule(text: str) -> str:
    named = _COMMAND.search(text)
    if named is not None:
        return f"allow it: ACL SETUSER <user> +{named[1].lower()}"
    if "key" in text:
        return "allow the keys: ACL SETUSER <user> ~<prefix>:*"
    return "ACL LOG on the server names what is missing"
