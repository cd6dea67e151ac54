"""What a request may say in `headrace.cache`."""

from __future__ import annotations

BYPASS, REFRESH, USE = "bypass", "refresh", "use"
"""Neither look nor keep; do not look but keep; look and keep also at a high temperature."""

WISHES = ("", BYPASS, REFRESH, USE)
