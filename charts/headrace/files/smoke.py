"""What `helm test` asks an installation: is it whole, and does a model answer?

python smoke.py http://headrace-gateway:7800
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PATIENCE_S = 300


def ask(url: str, key: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the gateway; what may pass (not ready, a pod on its way out) is tried again."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            request = urllib.request.Request(url, data, headers)  # noqa: S310, the scheme is the chart's
            with opener.open(request, timeout=120) as answer:
                told: dict[str, Any] = json.load(answer)
                return told
        except urllib.error.HTTPError as error:
            why = error.read().decode(errors="replace")
            if error.code < 500 or time.monotonic() > deadline:
                sys.exit(f"{url}: {error.code} {why}")
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"{url}: {error}")
        time.sleep(2)


def deployments(url: str, key: str) -> list[dict[str, Any]]:
    """The deployments, once all are ready."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found: list[dict[str, Any]] = ask(f"{url}/v1/admin/deployments", key)["data"]
        late = {one["name"]: one["state"] for one in found if one["state"] != "ready"}
        if not late:
            return found
        if time.monotonic() > deadline:
            sys.exit(f"deployments that are not ready: {late}")
        time.sleep(2)


def main(url: str) -> None:
    """Ask for readiness, a key, the models, and an answer of the first model that generates text."""
    from headrace_kit.config import load

    config = load(Path(os.environ["HEADRACE_CONFIG"]))
    admin = (Path(os.environ["HEADRACE_SECRETS_DIR"]) / "bootstrap-admin-key").read_text().strip()
    ready = deployments(url, admin)
    print(f"deployments: {', '.join(one['name'] for one in ready) or 'none'}")
    tenant = next(iter(config.tenants), "default")
    made = ask(f"{url}/v1/admin/keys", admin, {"tenant": tenant, "name": "helm-test"})
    models = [one["id"] for one in ask(f"{url}/v1/models", made["key"])["data"]]
    print(f"models: {', '.join(models) or 'none'}")
    able = [name for name in models if name in config.models and config.task(config.models[name]) == "generate"]
    if able:
        asked = [{"role": "user", "content": "Say hello."}]
        answer = ask(f"{url}/v1/chat/completions", made["key"], {"model": able[0], "messages": asked, "max_tokens": 8})
        choice = answer["choices"][0]
        print(f"{able[0]}: {choice['message']['content']!r}, {choice['finish_reason']}")
    print("passed")


if __name__ == "__main__":
    main(sys.argv[1])
