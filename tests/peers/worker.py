"""A fresh process for one case and one library.

python -m tests.peers.worker CASE SUBJECT PORT PID

The server is ours to stop and kill. The last line of stdout is the verdict, in JSON; whatever a
library prints comes before it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import traceback
import warnings

from tests.peers.arena import Arena, Behind
from tests.peers.cases import CASES
from tests.peers.contract import NotApplicable, Verdict
from tests.peers.subjects import SUBJECTS

__all__: list[str] = []


async def verdict(case: str, arena: Arena) -> Verdict:
    """Run the case."""
    try:
        return await CASES[case].run(arena)
    except NotApplicable as reason:
        return Verdict("not applicable", str(reason))
    except Exception as error:  # noqa: BLE001 - the case came to no verdict, and that is told
        traceback.print_exc()
        return Verdict("failed", repr(error))


def main(case: str, subject: str, port: int, pid: int) -> None:
    """Run it, say what was found, and leave without goodbyes: much may hang by now."""
    warnings.simplefilter("ignore")  # about connections that a case has torn
    logging.disable(logging.CRITICAL)
    chosen = SUBJECTS[subject]
    arena = Arena(chosen, Behind(port, pid))
    with asyncio.Runner() as runner:
        found = runner.run(verdict(case, arena))
        print()
        print(
            json.dumps(
                {
                    "outcome": found.outcome,
                    "evidence": found.evidence,
                    "versions": chosen.versions(),
                }
            ),
            flush=True,
        )
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
