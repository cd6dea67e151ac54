"""Moves what slots hold to `Prefixes` and back, by the engine's own commands.

Writing a slot takes milliseconds, more while the engine computes: a request that needed the slot would wait for it. So
slots are written when they have been idle for a moment, and before they are taken only where there was none.
"""

import contextlib
import http.client
import json
import threading

from .prefixes import name

IDLE_S = 1.0
"""How long a slot is idle before it is written: the next turn of a conversation may come and change it."""


def keep(engine, number, content):
    """Write slot `number`, which holds `content`, where there is room for it.

    Raises:
        OSError, http.client.HTTPException: the engine is gone.
    """
    path = engine.prefixes.room(content)
    if path is None:
        return
    saved = _action(engine, number, "save", path)
    if saved is None:
        engine.prefixes.give_back(path)
    else:
        engine.prefixes.add(path, content, saved["n_written"])


def restore(engine, number, entry):
    """Read an entry of `Prefixes.find` into slot `number`; says whether that could be done. Raises: as `keep`."""
    done = False
    try:
        done = _action(engine, number, "restore", entry.path) is not None
    finally:
        engine.prefixes.done(entry, broken=not done)
    return done


def keep_when_idle(engine, number, content):
    """Write the slot in a while, if it then still holds just that and nobody uses it."""
    later = threading.Timer(IDLE_S, _keep_idle, (engine, number, content))
    later.daemon = True
    later.start()


def _keep_idle(engine, number, content):
    if not engine.slots.hold(number, content):
        return
    try:
        with contextlib.suppress(OSError, http.client.HTTPException):  # the next request will see it
            keep(engine, number, content)
    finally:
        engine.slots.let_go(number)


def _action(engine, number, action, path):
    """The engine's answer, or None where it could not do it."""
    connection = engine.connect()
    try:
        response = connection.post("/slots/%d?action=%s" % (number, action), {"filename": name(path)})
        answer = json.loads(response.read())
    finally:
        connection.close()
    return answer if response.status == 200 else None
