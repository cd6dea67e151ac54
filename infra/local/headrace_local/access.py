"""The way in: the product team's key, and the file of addresses and keys that scripts read."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from headrace_local import secrets
from headrace_local.layout import Layout

TENANT, KEY_NAME = "dev", "local"


class AccessError(RuntimeError):
    """The gateway did not give a key."""


def grant(layout: Layout, facts: Mapping[str, str]) -> None:
    """Make the product team's key, unless the one at hand still works, and write `<data dir>/env`.

    Args:
        layout: the data directory.
        facts: of the run: `url` and `grpc` of the gateway, `otlp` of tracing.

    Raises:
        AccessError: the gateway refused, or did not answer.
    """
    url = facts["url"]
    admin_key = secrets.read(layout, "bootstrap-admin-key") or ""
    key = secrets.read(layout, "dev-api-key")
    if key is None or _call(f"{url}/v1/models", key)[0] == 401:
        status, answer = _call(f"{url}/v1/admin/keys", admin_key, {"tenant": TENANT, "name": KEY_NAME})
        if status not in (200, 201) or "key" not in answer:
            raise AccessError(f"the gateway gave no key: {status} {json.dumps(answer)}")
        key = str(answer["key"])
        secrets.write(layout, "dev-api-key", key)
    lines = {
        "HEADRACE_URL": url,
        "HEADRACE_GRPC": facts["grpc"],
        "HEADRACE_API_KEY": key,
        "HEADRACE_ADMIN_KEY": admin_key,
        "HEADRACE_OTLP": facts["otlp"],
    }
    secrets.write_private(layout.env_file, "".join(f"{name}={value}\n" for name, value in lines.items()))


def read_env(layout: Layout) -> dict[str, str]:
    """What `<data dir>/env` says; empty where it was not written yet."""
    try:
        lines = layout.env_file.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def curl(env: dict[str, str]) -> str:
    """A line to paste that streams an answer."""
    body = '{"model": "assistant", "stream": true, "messages": [{"role": "user", "content": "Say hello."}]}'
    return (
        f"curl -N {env['HEADRACE_URL']}/v1/chat/completions -H 'Authorization: Bearer {env['HEADRACE_API_KEY']}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


def _call(url: str, key: str, body: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is never behind a proxy
    request = urllib.request.Request(url, data, headers)  # noqa: S310, the scheme is always http
    problem: Exception | None = None
    for _ in range(10):
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, _object(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != 503:
                return error.code, _object(error.read())
            problem = error
        except OSError as error:
            problem = error
        time.sleep(0.5)
    raise AccessError(f"the gateway does not answer at {url}: {problem}")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(raw)
    except ValueError:
        return {"answer": raw.decode(errors="replace")}
    return parsed if isinstance(parsed, dict) else {"answer": parsed}
