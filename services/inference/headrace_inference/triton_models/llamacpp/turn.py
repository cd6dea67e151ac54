"""One request's time in a slot: what is done to the slot before and after."""

import contextlib
import http.client
import json
import threading
import time

from .keeping import keep, keep_when_idle, restore
from .slots import UNKNOWN, Content, Wanted

_LOOK_EVERY_S = 0.01
_PATIENCE_S = 60.0
"""How long a slot may take to let go of a cancelled request: until the engine's batch is computed."""


def wanted(document, body):
    """What a request wants of the slots, for the engine's request `body`."""
    prompt = body.get("prompt")
    if "messages" in body:
        # Templates put tools before the conversation.
        tools = body.get("tools") or body.get("chat_template_kwargs", {}).get("tools")
        prompt = [tools, body["messages"]]
    text = json.dumps(prompt, ensure_ascii=False)
    return Wanted(document.get("tenant") or "", document.get("adapter") or "", text, document.get("n") or 1)


class Turn:
    """From the lease of a slot to its return.

    Args:
        engine: an `EngineClient`.
        lease: from its `slots`.
    """

    def __init__(self, engine, lease):
        self._engine = engine
        self._lease = lease
        self._sent = self._started = False
        self._tokens = None

    def prepare(self, body):
        """Keep what was in the slot, bring what belongs there, and point the engine's request to it.

        Raises:
            OSError, http.client.HTTPException: the engine is gone.
        """
        lease = self._lease
        if lease.keep is not None:
            keep(self._engine, lease.number, lease.keep)
        reuse = lease.reuse
        if lease.restore is not None:
            entry, lease.restore = lease.restore, None
            reuse = restore(self._engine, lease.number, entry)
        body["id_slot"] = lease.number
        body["cache_prompt"] = reuse
        self._sent = True

    def started(self):
        """The engine has begun: what the slot holds is this request's, whatever happens."""
        self._started = True

    def ended(self, tokens):
        """The engine has ended the answer; prompt and answer have `tokens`."""
        self._tokens = tokens

    def close(self):
        """Give the slot back, where the answer did not end as soon as the engine has let go of it."""
        if self._lease.restore is not None:
            self._engine.prefixes.done(self._lease.restore)
        if self._sent and self._tokens is None:
            threading.Thread(target=self._release_when_idle, name="release", daemon=True).start()
        else:
            self._release()

    def _release(self):
        request, tokens = self._lease.wanted, self._tokens
        content = Content(request.tenant, request.adapter, request.text, tokens or 0) if self._started else UNKNOWN
        if tokens and not request.tenant and self._engine.prefixes:
            self._share(content)
        self._engine.slots.release(self._lease, content)
        if self._engine.slots.worth_keeping(content):
            keep_when_idle(self._engine, self._lease.number, content)

    def _share(self, content):
        """A prompt of the platform is kept at once: it is everybody's, and its slot soon somebody's."""
        if not self._engine.prefixes.has(content):
            with contextlib.suppress(OSError, http.client.HTTPException):  # the next request will see it
                keep(self._engine, self._lease.number, content)

    def _release_when_idle(self):
        numbers = {self._lease.number, *self._lease.others}
        until = time.monotonic() + _PATIENCE_S
        try:
            while time.monotonic() < until:
                slots = self._engine.read("/slots")
                if not any(slot["is_processing"] for slot in slots if slot["id"] in numbers):
                    break
                time.sleep(_LOOK_EVERY_S)
        except (OSError, ValueError, http.client.HTTPException):
            pass  # it is gone, and the slot with it
        self._release()
