"""The end of a process that has done everything, whatever the users' code has left running.

Python waits for threads before it ends a process, and an event loop for tasks that were cancelled. Neither comes to
an end if a body swallows its cancellation, or a thread that an app has started never returns.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

log = logging.getLogger("bide.worker")

_GRACE_S = 3.0


def leave_soon(exit_code: int) -> None:
    """From now on the process ends by itself, or is ended, with that exit code, after three seconds."""
    threading.Thread(target=_leave, args=(exit_code,), name="bide-leaving", daemon=True).start()


def _leave(exit_code: int) -> None:
    threading.Event().wait(_GRACE_S)
    main = threading.main_thread()
    left = [each.name for each in threading.enumerate() if each is not main and not each.daemon and each.is_alive()]
    what = f"threads still run ({', '.join(left)})" if left else "tasks of the event loop still run"
    saved = "" if exit_code else "Everything is saved, but "
    log.warning("%s%s: the process ends without them.", saved, what)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
