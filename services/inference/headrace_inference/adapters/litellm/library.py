"""litellm itself: imported when the first hosted deployment needs it, and kept quiet.

Its import takes seconds and 195 MB. It reads its switches from the environment while it is imported, and fetches lists
of prices and headers from the network unless they tell it not to: here alone they are set.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import warnings
from types import ModuleType
from typing import Any

_SWITCHES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the list in the package instead of one from the network
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",  # else it reads a .env file of the working folder
}
_lock = threading.Lock()
_ready: ModuleType | None = None


def imported() -> ModuleType | None:
    """litellm, when it is there already."""
    return _ready


async def library() -> ModuleType:
    """litellm. The first call imports it in a thread, so that the event loop goes on."""
    return _ready if _ready is not None else await asyncio.to_thread(_import)


def _import() -> ModuleType:
    global _ready
    with _lock:
        if _ready is not None:
            return _ready
        if "litellm" not in sys.modules:
            os.environ.update(_SWITCHES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own and its dependencies', nothing that an operator can mend
            import litellm
        _quiet(litellm)
        _ready = litellm
        return litellm


def _quiet(litellm: Any) -> None:
    """Nothing is logged, counted, retried, cached or left out behind our back."""
    # About its own types, in its first calls.
    warnings.filterwarnings("ignore", r"Items? .* on TypedDict class .* `ReadOnly` qualifier", UserWarning)
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.turn_off_message_logging = True
    litellm.disable_streaming_logging = True
    litellm.redact_messages_in_exceptions = True
    litellm.num_retries = 0
    litellm.drop_params = False
    litellm.modify_params = False
    litellm.cache = None
    for name in ("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback"):
        setattr(litellm, name, [])
    # Their messages quote requests, and addresses that may hold keys. Whoever turns them on would log prompts.
    for name, level in (("LiteLLM", logging.CRITICAL), ("openai", logging.WARNING), ("httpx", logging.WARNING)):
        logging.getLogger(name).setLevel(level)
