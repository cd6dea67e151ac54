"""LoRA adapters by request: each answers as itself, and shares no cache with the others."""

from __future__ import annotations

import asyncio
import itertools

import pytest
import pytest_asyncio
from inference_suite.answers import Whole, gather
from inference_suite.gguf_files import write_lora
from inference_suite.local import chat, loaded, local_engine, weights

from headrace_inference.ports import Generation
from headrace_kit.errors import BadInput, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASKED = (
    "Tell me about the sea and the many animals that live in it, in a few sentences please. Whales and seals "
    "breathe air and come up for it; fish do not. Corals look like plants, and are animals that build reefs with "
    "their skeletons. Squids and octopuses have no bones at all. Far down, where no light comes, some animals make "
    "their own, to be found by a mate or to find something to eat. Birds live from the sea, too, and some of them "
    "hardly ever see the land. What do you find most remarkable about all this? Answer as a friend would."
)
NAMES = ("", "one", "two")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    made = {
        name: write_lora(weights("small"), folder / f"{name}.gguf", seed=seed, strength=0.25)
        for seed, name in enumerate(NAMES[1:], 1)
    }
    return {"model": weights("small"), **made}


def begin(name: str) -> Generation:
    """A request for the first token and what else it might have been."""
    return chat(ASKED, adapter=name, max_tokens=1, top_logprobs=5)


def likeness(one: Whole, other: Whole) -> float:
    """How far two first tokens' alternatives are apart. The shape of a batch moves them a little, an adapter a lot."""
    left, right = (dict(whole.choices[0].logprobs[0].top) for whole in (one, other))
    return sum(abs(left.get(token, -9) - right.get(token, -9)) for token in left.keys() | right.keys())


def whose(answer: Whole, alone: dict[str, Whole]) -> str:
    """The adapter that alone begins most like this answer."""
    return min(alone, key=lambda name: likeness(answer, alone[name]))


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
            said[name] = await gather(engine, begin(name))
    assert min(likeness(said[one], said[other]) for one, other in itertools.combinations(NAMES, 2)) > 5
    return said


async def test_every_adapter_answers_as_itself_also_at_the_same_time(engine, alone):
    names = NAMES * 3
    answers = await asyncio.gather(*(gather(engine, begin(name)) for name in names))
    assert [whose(answer, alone) for answer in answers] == list(names)


async def test_no_adapter_reads_what_another_left_in_the_cache(engine, alone):
    for order in itertools.permutations(NAMES):
        for name in order:
            await gather(engine, chat("Something else, to move slots about.", adapter=order[0], max_tokens=2))
            assert whose(await gather(engine, begin(name)), alone) == name
    again = await gather(engine, begin(order[-1]))
    assert again.usage.cached_input_tokens > 0, "the same adapter may"
    assert whose(again, alone) == order[-1]


async def test_adapters_that_share_one_slot_do_not_share_what_is_in_it(files, alone):
    async with loaded(files, slots=1, adapters=ADAPTERS) as engine:
        for name in NAMES * 2:
            assert whose(await gather(engine, begin(name)), alone) == name


async def test_the_scale_of_the_config_applies(files, alone):
    adapters = {"one": {"model": "one", "scale": 0.0}}
    async with loaded(files, slots=1, adapters=adapters) as engine:
        assert likeness(await gather(engine, begin("one")), alone[""]) < 1


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
