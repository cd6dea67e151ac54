"""Words that turn a meaning round though they hardly move a vector. English, and negations of some other languages."""

from __future__ import annotations

_NEGATIONS = """
    not no never none nothing without neither nor cannot except unless
    nicht kein keine keinen ohne nie pas jamais sans aucun non nunca sin nessun senza mai não sem niet geen zonder
"""
_OPPOSITES = """
    on/off in/out up/down before/after first/last min/max minimum/maximum least/most less/more increase/decrease
    enable/disable enabled/disabled start/stop open/close opened/closed allow/deny add/remove buy/sell import/export
    upload/download encrypt/decrypt encode/decode install/uninstall true/false yes/no left/right old/new
    shortest/longest smallest/largest cheapest/dearest lock/unlock login/logout grant/revoke above/below over/under
    win/lose push/pull mount/unmount send/receive
"""

NEGATIONS = frozenset(_NEGATIONS.split())
OPPOSITES = frozenset(word for pair in _OPPOSITES.split() for word in pair.split("/")) - NEGATIONS
