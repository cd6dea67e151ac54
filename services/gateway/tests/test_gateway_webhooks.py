"""Webhooks about answers that a model was not sure of."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from headrace_gateway.adapters.webhooks import HttpPost
from headrace_gateway.cascade.webhook import PAUSES_S
from headrace_gateway.fakes import Script
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Snapshot, parse
from headrace_kit.config.cascades import LowConfidence, Webhook
from headrace_kit.webhooks import Refused

URL = "https://desk.example.com/headrace?team=a"
CONFIG = """
deployments: {{small: {{engine: triton-scripted}}}}
models:
  m:
    deployment: small
    low_confidence:
      signal: mean_logprob
      below: -1
      then: hand_over
      text: One moment.
      webhook: {{url: "{url}", secret: hook}}
services: {{gateway: {{webhook_hosts: [desk.internal]}}}}
"""


def handing_over(rig, url=URL):
    config = parse(CONFIG.format(url=url))
    rig.table = compile_table(Snapshot(config, Path("headrace.yaml")))
    rig.engine.scripts["small"] = [Script(["a ", "guess"], logprob=-2)]
    return rig


def ended(rig, outcome):
    return rig.registry.get_sample_value("headrace_gateway_webhooks_total", {"outcome": outcome}) or 0


async def ask_once(rig, ask):
    answer = await rig.pipeline.generate(rig.context(), ask("m", "my secret question"))
    await answer.whole()
    return answer.ctx


async def delivered(rig, outcome, count=1):
    async with asyncio.timeout(10):
        while ended(rig, outcome) < count:
            await asyncio.sleep(0)


async def test_a_message_is_signed_and_tells_ids_but_no_text(rig, ask):
    handing_over(rig).webhooks.start()
    ctx = await ask_once(rig, ask)
    await delivered(rig, "sent")
    [(url, body, headers)] = rig.posts.received
    assert url == URL
    told = json.loads(body)
    assert (told["request_id"], told["trace_id"], told["tenant"]) == (ctx.request_id, ctx.trace_id, "dev")
    assert (told["model"], told["signal"], told["value"], told["then"]) == ("m", "mean_logprob", -2.0, "hand_over")
    assert b"secret question" not in body and b"guess" not in body
    parts = dict(part.split("=") for part in headers["x-headrace-signature"].split(","))
    expected = hmac.new(b"s3cret", parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert parts["v1"] == expected
    await rig.webhooks.stop()


async def test_tries_are_few(rig, ask):
    handing_over(rig).webhooks.start()
    rig.posts.errors = [OSError("away")] * 2
    await ask_once(rig, ask)
    await delivered(rig, "sent")
    assert rig.posts.tries == 3
    rig.posts.errors = [OSError("away")] * 99
    await ask_once(rig, ask)
    await delivered(rig, "failed")
    assert rig.posts.tries == 3 + len(PAUSES_S) + 1
    rig.posts.errors = [Refused("no")]
    await ask_once(rig, ask)
    await delivered(rig, "failed", 2)
    rig.posts.errors = [ValueError("a fault of ours")]
    await ask_once(rig, ask)
    await delivered(rig, "failed", 3)
    await ask_once(rig, ask)
    await delivered(rig, "sent", 2)
    await rig.webhooks.stop()


async def test_what_does_not_fit_is_dropped_and_no_request_waits(rig, ask):
    handing_over(rig)
    for _ in range(5):
        await ask_once(rig, ask)
    assert ended(rig, "dropped") == 3
    await rig.webhooks.stop()
    assert ended(rig, "dropped") == 5
    assert rig.posts.tries == 0


async def test_without_its_secret_nothing_is_sent(rig, ask):
    handing_over(rig).webhooks._secret = {}.get
    rig.webhooks.start()
    await ask_once(rig, ask)
    await delivered(rig, "failed")
    assert rig.posts.tries == 0
    await rig.webhooks.stop()


class _Receiver(BaseHTTPRequestHandler):
    status = 204
    seen: ClassVar[list] = []

    def do_POST(self):
        self.seen.append((self.path, self.rfile.read(int(self.headers["content-length"])), self.headers["x-a"]))
        self.send_response(self.status)
        self.send_header("location", "http://127.0.0.1:1/")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def receiving(status):
    handler = type("Receiver", (_Receiver,), {"status": status, "seen": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook?a=1", handler.seen
        finally:
            server.shutdown()
            thread.join()


async def test_it_goes_over_http_where_the_config_allows_the_host():
    with receiving(204) as (url, seen):
        await HttpPost(lambda: ("127.0.0.1",))(Webhook(url=url, secret="s"), b"{}", {"x-a": "b"})
        assert seen == [("/hook?a=1", b"{}", "b")]


@pytest.mark.parametrize(("status", "error"), [(302, Refused), (404, Refused), (500, OSError), (429, OSError)])
async def test_what_the_receiver_answers(status, error):
    with receiving(status) as (url, seen):
        with pytest.raises(error):
            await HttpPost(lambda: ("127.0.0.1",))(Webhook(url=url, secret="s"), b"{}", {})
        assert len(seen) == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"]
)
async def test_nothing_inside_is_called(host):
    for scheme in ("http", "https"):
        with pytest.raises(Refused):
            await HttpPost(lambda: ("desk.internal",))(Webhook(url=f"{scheme}://{host}/", secret="s"), b"{}", {})


async def test_a_receiver_that_is_away_may_be_tried_again():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(OSError, match="refused"):
        await HttpPost(lambda: ("127.0.0.1",))(Webhook(url=url, secret="s"), b"{}", {})


def test_only_https_or_hosts_that_are_named():
    parse(CONFIG.format(url="http://desk.internal:8080/x"))
    with pytest.raises(Exception, match="webhook_hosts"):
        parse(CONFIG.format(url="http://desk.example.com/x"))
    for wrong in ("ftp://a/", "https://user:pw@a/", "https:///x"):
        with pytest.raises(ValidationError):
            LowConfidence.model_validate({"signal": "margin", "below": 1, "webhook": {"url": wrong, "secret": "hook"}})
