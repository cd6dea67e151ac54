"""LoRA adapters by request: each answers as itself, and shares no cache with the others."""

from __future__ import annotations

import asyncio
import itertools

import pytest
import pytest_asyncio
from inference_suite.answers import gather
from inference_suite.gguf_files import write_lora
from inference_suite.local import chat, loaded, local_engine, weights

from headrace_kit.errors import BadInput, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASKED = "Tell me about the sea and the many animals that live in it, in a few sentences please."
NAMES = ("", "one", "two")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    made = {
        name: write_lora(weights("small"), folder / f"{name}.gguf", seed=seed, strength=0.15)
        for seed, name in enumerate(NAMES[1:], 1)
    }
    return {"model": weights("small"), **made}


ADAPTERS = {name: {"model": name} for name in NAMES[1:]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(files):
    async with loaded(files, slots=3, adapters=ADAPTERS) as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(files):
    """What each adapter says where there is no other: from engines that have only that one."""
    said = {}
    for name in NAMES:
        only = {name: ADAPTERS[name]} if name else {}
        async with loaded(files, slots=1, adapters=only) as engine:
            said[name] = (await gather(engine, chat(ASKED, adapter=name))).text
    assert len(set(said.values())) == len(NAMES)
    return said


async def test_every_adapter_answers_as_itself_also_at_the_same_time(engine, alone):
    answers = await asyncio.gather(*(gather(engine, chat(ASKED, adapter=name)) for name in NAMES))
    assert {name: answer.text for name, answer in zip(NAMES, answers, strict=True)} == alone


async def test_no_adapter_reads_what_another_left_in_the_cache(engine, alone):
    for order in itertools.permutations(NAMES):
        for name in order:
            await gather(engine, chat("Something else, to move slots about.", adapter=order[0], max_tokens=2))
            assert (await gather(engine, chat(ASKED, adapter=name))).text == alone[name]
    again = await gather(engine, chat(ASKED, adapter=order[-1]))
    assert again.usage.cached_input_tokens > 0, "the same adapter may"
    assert again.text == alone[order[-1]]


async def test_the_scale_of_the_config_applies(files, alone):
    adapters = {"one": {"model": "one", "scale": 0.0}}
    async with loaded(files, slots=1, adapters=adapters) as engine:
        assert (await gather(engine, chat(ASKED, adapter="one"))).text == alone[""]


async def test_an_unknown_adapter_is_refused_before_it_queues(engine):
    with pytest.raises(BadInput, match=r"no adapter 'three'; it has one, two") as caught:
        engine.check(chat(ASKED, adapter="three"))
    assert (caught.value.code, caught.value.param) == ("unsupported", "adapter")
    with pytest.raises(BadInput):
        await gather(engine, chat(ASKED, adapter="three"))


async def test_an_adapter_that_cannot_be_loaded_is_named(files, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(files["one"].read_bytes()[:100])
    engine = local_engine({**files, "broken": broken}, adapters={"broken": {"model": "broken"}})
    with pytest.raises(Upstream, match=r"LoRA adapter .*broken\.gguf"):
        await engine.load()
    assert (await engine.health()).state == "failed"
    await engine.close()
