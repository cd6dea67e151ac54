"""Images and audio in messages: what is checked, what is fetched, and what is never reached."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web

from headrace_inference.media.fetch import fetch_image, image_fetcher
from headrace_inference.media.inline import Media
from headrace_inference.media.kinds import audio_format, image_type
from headrace_kit.config.services import Media as MediaSettings
from headrace_kit.errors import BadInput
from headrace_kit.fetching import CannotFetchError, Fetcher, Limits, is_public

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
JPEG = b"\xff\xd8\xff\xe0" + bytes(64)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(32)
LOOPBACK = "127.0.0.0/8"
NOT_PUBLIC = "does not lead to a public host"


def data_url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def image(url):
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def asking(*parts):
    return (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "?"}, *parts]},
    )


async def refusal(media, *parts) -> BadInput:
    with pytest.raises(BadInput) as caught:
        await media.inline(asking(*parts))
    return caught.value


@dataclass
class Site:
    """A web server on loopback. `paths` are its answers; `asked` what was asked for, with the Host header."""

    port: int = 0
    paths: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"

    def gives(self, path, body=PNG, kind="image/png", status=200, **headers):
        self.paths[path] = {"body": body, "status": status, "headers": {"Content-Type": kind} | headers}
        return self.url(path)

    async def handle(self, request):
        self.asked.append((request.path, request.host))
        self.headers.append(dict(request.headers))
        if request.path == "/slow":
            await asyncio.Event().wait()
        return web.Response(**self.paths.get(request.path, {"status": 404}))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    application = web.Application()
    application.router.add_get("/{rest:.*}", site.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


def media(**options) -> Media:
    return Media(MediaSettings.model_validate({"allow_networks": [LOOPBACK], "timeout": 10} | options))


# What is in the message


async def test_text_passes_untouched():
    messages = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": []})
    assert await media().inline(messages) == messages


@pytest.mark.parametrize("declared", ["image/png", "image/jpg", "IMAGE/PNG"])
async def test_a_data_url_is_named_by_what_it_is(declared):
    found = await media().inline(asking(image(data_url(JPEG, declared))))
    assert found[1]["content"] == [{"type": "text", "text": "?"}, image(data_url(JPEG, "image/jpeg"))]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "is not png"),
        (data_url(b"%PDF-1.7" + bytes(32)), "is not png"),
        (data_url(PNG, "text/html"), "data URL is"),
        ("data:image/png,%89PNG", "data URL is"),
        ("data:image/png;base64,iVBO*Rw0", "not base64"),
        ("data:image/png;base64,", "is not png"),
        (data_url(PNG + bytes(2048)), "larger than 1024 bytes"),
    ],
)
async def test_a_bad_data_url_is_refused_by_place(url, says):
    error = await refusal(media(max_bytes=1024), image(url))
    assert error.param == "messages[1].content[1].image_url"
    assert says in error.message


async def test_large_data_is_checked_too():
    large = PNG + bytes(600_000)
    found = await media().inline(asking(image(data_url(large))))
    assert found[1]["content"][1] == image(data_url(large))
    assert "not base64" in (await refusal(media(), image(data_url(large)[:-5] + "*" * 5))).message


async def test_too_many_parts():
    assert "at most 2" in (await refusal(media(max_parts=2), *[image(data_url(PNG))] * 3)).message


def sound(data, form):
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": form}}


async def test_audio_is_what_its_format_says():
    found = await media().inline(asking(sound(WAV, "wav"), sound(b"ID3\x04" + bytes(32), "mp3")))
    assert found[1]["content"][1:] == [sound(WAV, "wav"), sound(b"ID3\x04" + bytes(32), "mp3")]
    assert (await refusal(media(), sound(WAV, "mp3"))).param == "messages[1].content[1].input_audio.format"
    assert (await refusal(media(), sound(PNG, "wav"))).param == "messages[1].content[1].input_audio.data"


def test_kinds():
    assert image_type(b"RIFF\x00\x00\x00\x00WEBPVP8 ") == "image/webp"
    assert image_type(b"GIF89a") == "image/gif"
    assert image_type(WAV) is None
    assert audio_format(b"\xff\xfb\x90\x00") == "mp3"
    assert audio_format(b"\xff\xd8\xff\xe0") is None


# What is fetched


async def test_an_image_by_address_becomes_a_data_url(site):
    site.gives("/a", PNG)
    site.gives("/b", JPEG, "image/jpeg; charset=binary")
    found = await media().inline(asking(image(site.url("/a#part")), image(site.url("/b"))))
    assert found[1]["content"][1:] == [image(data_url(PNG)), image(data_url(JPEG, "image/jpeg"))]
    assert sorted(path for path, _ in site.asked) == ["/a", "/b"]


async def test_nothing_of_ours_travels_along(site, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    site.gives("/a", **{"Set-Cookie": "a=b"})
    for _ in range(2):
        await media().inline(asking(image(site.url("/a"))))
    assert set(site.headers[1]) == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}


async def test_fetching_can_be_turned_off(site):
    error = await refusal(media(fetch=False), image(site.gives("/a")))
    assert "data URLs" in error.message
    assert site.asked == []


async def test_redirects_are_followed_to_a_limit(site):
    for number in range(4):
        site.gives(f"/{number}", b"", status=302, Location=f"/{number + 1}")
    site.gives("/4")
    assert (await media().inline(asking(image(site.url("/1")))))[1]["content"][1] == image(data_url(PNG))
    assert "more than 3 times" in (await refusal(media(), image(site.url("/0")))).message


@pytest.mark.parametrize(
    ("body", "kind", "headers", "says"),
    [
        (PNG, "text/html", {}, "does not answer with an image"),
        (PNG, "image/png", {"Content-Encoding": "gzip"}, "does not answer with an image"),
        (b"<html>internal secret</html>", "image/png", {}, "is not png"),
        (PNG + bytes(4096), "image/png", {}, "larger than 1024 bytes"),
    ],
)
async def test_what_is_no_image_is_refused_without_being_told(body, kind, headers, says, site):
    site.gives("/a", body, kind, **headers)
    error = await refusal(media(max_bytes=1024), image(site.url("/a")))
    assert says in error.message
    assert "secret" not in error.message and "127.0.0.1" not in error.message


async def test_a_size_that_is_not_announced_is_seen_while_reading(site):
    async def endless(request):
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        await response.prepare(request)
        await response.write(PNG)
        try:
            while True:
                await response.write(bytes(4096))
        except ConnectionError:
            site.asked.append(("/left", ""))
        return response

    site.handle = endless
    application = web.Application()
    application.router.add_get("/", endless)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        error = await refusal(media(max_bytes=100_000), image(f"http://127.0.0.1:{runner.addresses[0][1]}/"))
        assert "larger than 100000 bytes" in error.message
        async with asyncio.timeout(5):
            while not site.asked:
                await asyncio.sleep(0.01)
    finally:
        await runner.cleanup()


async def test_status_and_silence_tell_nothing(site):
    site.gives("/teapot", b"internal secret", status=418)
    assert "does not answer with an image" in (await refusal(media(), image(site.url("/teapot")))).message
    assert "within 0.2 s" in (await refusal(media(timeout=0.2), image(site.url("/slow")))).message
    closed = await refusal(media(), image("http://127.0.0.1:9/a"))
    assert closed.message == "the image's address cannot be reached"


# What is never reached


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "2130706433", "0x7f000001", "017700000001", "127.1", "0.0.0.0", "localhost", "localhost.",
        "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "①②⑦.0.0.1",
        "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.100.100.200", "168.63.129.16",
        "[fd00:ec2::254]", "[fe80::1]", "[::]", "224.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
async def test_no_way_of_writing_it_reaches_an_internal_address(host, site):
    site.gives("/a")
    for port in ("", f":{site.port}"):
        error = await refusal(media(allow_networks=[]), image(f"http://{host}{port}/a"))
        assert NOT_PUBLIC in error.message
        assert error.param == "messages[1].content[1].image_url"
    assert site.asked == []


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data/", "http://[::1]/", "//10.0.0.1/x"])
async def test_a_redirect_leads_nowhere_internal(target, site):
    site.gives("/a", b"", status=302, Location=target)
    assert NOT_PUBLIC in (await refusal(media(), image(site.url("/a")))).message


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://example.com/a", "http://user:key@example.com/", "gopher:x"]
)
async def test_a_redirect_leaves_no_scheme_and_adds_no_credentials(target, site):
    site.gives("/a", b"", status=307, Location=target)
    message = (await refusal(media(), image(site.url("/a")))).message
    assert "credentials" in message or "http or https" in message


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.com/a.png", "//example.com/a.png", "a.png", "", "http://", "http:///a",
        "http://user@example.com/a.png", "http://user:key@example.com/", "http://[::1", "https://" + "a" * 9000,
    ],
)  # fmt: skip
async def test_what_is_no_plain_web_address_is_refused(url):
    assert (await refusal(media(), image(url))).param == "messages[1].content[1].image_url"


def answering(*answers):
    """A resolver that gives each of the answers in turn, and counts."""
    left = list(answers)

    async def resolve(host, port):
        return left.pop(0)

    return resolve, left


async def fetch(resolve, url, allowed=()):
    return await fetch_image(image_fetcher(Limits(1_000_000, 5, allowed), resolve), url)


async def test_one_internal_answer_among_public_ones_refuses_the_host():
    for answers in (["93.184.215.14", "10.0.0.1"], ["127.0.0.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"], []):
        resolve, _ = answering(answers)
        with pytest.raises(CannotFetchError, match=NOT_PUBLIC):
            await fetch(resolve, "http://mixed.example/a")


async def test_only_usual_ports_of_public_hosts(site):
    resolve, _ = answering(["93.184.215.14"])
    with pytest.raises(CannotFetchError, match=NOT_PUBLIC):
        await fetch(resolve, "http://public.example:22/a")


async def test_a_name_is_resolved_once_and_the_checked_address_is_used(site):
    allowed = MediaSettings(allow_networks=[LOOPBACK]).allow_networks
    resolve, left = answering(["127.0.0.1"], ["169.254.169.254"])
    site.gives("/a")
    data, kind = await fetch(resolve, site.url("/a", "rebinding.example"), allowed)
    assert (data, kind) == (PNG, "image/png")
    assert site.asked == [("/a", f"rebinding.example:{site.port}")]
    assert len(left) == 1  # connecting asked nobody again


async def test_a_name_that_does_not_exist_looks_like_an_internal_one():
    async def nobody(host, port):
        raise OSError("no such host")

    with pytest.raises(CannotFetchError, match=NOT_PUBLIC):
        await fetch(nobody, "http://internal.example/a")


async def test_https_does_not_fall_back_to_http():
    # The first hop is stood in for: what is under test is what follows it.
    class Redirecting(Fetcher):
        async def _get(self, url):
            from yarl import URL

            return URL("http://public.example/b")

    with pytest.raises(CannotFetchError, match="from https"):
        await Redirecting(Limits(1000, 5)).fetch("https://public.example/a")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True), ("8.8.8.8", True), ("2606:4700::1111", True), ("64:ff9b::808:808", True),
        ("::ffff:8.8.8.8", True), ("64:ff9b::a00:1", False), ("64:ff9b:1::1", False), ("2001::1", False),
        ("2002:808:808::1", False), ("fc00::1", False), ("ff02::1", False), ("192.88.99.1", False),
        ("198.18.0.1", False), ("203.0.113.9", False), ("240.0.0.1", False), ("2001:db8::1", False), ("5f00::1", False),
    ],
)  # fmt: skip
def test_public_addresses(address, public):
    assert is_public(ip_address(address)) is public
