"""Who gets which slot of llama.cpp, and what of earlier prompts it may see."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_inference.triton_models.llamacpp.prefixes import Prefixes, forget, vault
from headrace_inference.triton_models.llamacpp.slots import UNKNOWN, Content, Slots, Wanted, shared

SYSTEM = "You are the assistant of a lighthouse. " * 40


def wants(tenant: str = "a", text: str = "", answers: int = 1, adapter: str = "") -> Wanted:
    return Wanted(tenant, adapter, SYSTEM + text, answers)


def lease(slots: Slots, wanted: Wanted):
    ticket = slots.ask(wanted)
    assert ticket.lease is not None, "there is no free slot"
    return ticket.lease


def use(slots: Slots, wanted: Wanted, tokens: int = 400):
    """A whole request."""
    taken = lease(slots, wanted)
    slots.release(taken, Content(wanted.tenant, wanted.adapter, wanted.text, tokens))
    return taken


@pytest.fixture
def paths():
    made = vault(4)
    yield made
    forget(made)


@pytest.fixture
def prefixes(paths) -> Prefixes:
    return Prefixes(paths, 1000)


def keep(prefixes: Prefixes, content: Content, size: int) -> str | None:
    path = prefixes.room(content)
    if path is not None:
        Path(path).write_bytes(bytes(size))
        prefixes.add(path, content, size)
    return path


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [("", "", 0), ("abc", "abd", 2), ("abc", "abc", 3), ("abc", "abcd", 3), ("abcd", "abc", 3), ("x", "y", 0)],
)
def test_the_common_beginning_of_two_texts(one, other, common):
    assert shared(one, other) == common
    assert shared(one * 1 + "?", other + "!") == common


def test_a_request_goes_back_to_the_slot_with_its_prefix():
    slots = Slots(3)
    first = use(slots, wants(text="hello"))
    use(slots, Wanted("a", "", "something else entirely " * 30, 1))
    again = lease(slots, wants(text="hello and more"))
    assert (again.number, again.reuse) == (first.number, True)


def test_what_one_tenant_left_is_never_used_for_another():
    slots = Slots(1)
    use(slots, wants("a"))
    other = lease(slots, wants("b"))
    assert not other.reuse
    slots.release(other, Content("b", "", SYSTEM, 400))
    assert use(slots, wants("b")).reuse
    assert not lease(slots, wants("a")).reuse


def test_an_adapter_is_another_prefix():
    slots = Slots(1)
    use(slots, wants(adapter="formal"))
    assert not use(slots, wants(adapter="")).reuse
    assert not use(slots, wants(adapter="formal")).reuse
    assert use(slots, wants(adapter="formal")).reuse


def test_a_tenant_takes_an_empty_slot_before_another_tenants_and_its_longest_before_its_latest():
    slots = Slots(3)
    use(slots, wants("a", "one"))
    use(slots, Wanted("b", "", "b" * 600, 1))
    third = lease(slots, Wanted("a", "", "a" * 600, 1))
    assert third.number == 2
    slots.release(third, Content("a", "", third.wanted.text, 400))
    assert lease(slots, wants("a", "one more")).number == 0
    assert lease(slots, Wanted("c", "", "c" * 600, 1)).number == 1, "the one that was not used for longest"


def test_what_the_platform_left_is_for_everybody_once():
    slots = Slots(2)
    use(slots, wants("", "hello"))
    assert use(slots, wants("a", "x")).reuse
    assert not use(slots, wants("b", "y")).reuse, "now it is a's, and there is no copy of it"


def test_a_slot_of_a_request_that_failed_early_is_nobodys():
    slots = Slots(1)
    slots.release(lease(slots, wants("a")), UNKNOWN)
    assert not lease(slots, wants("a")).reuse


def test_without_prefix_caching_nothing_is_reused(prefixes):
    slots = Slots(1, prefixes, reuse=False)
    use(slots, wants(""))
    taken = use(slots, wants(""))
    assert (taken.reuse, taken.restore) == (False, None)


def test_requests_are_served_in_the_order_they_came():
    slots = Slots(1)
    holder = lease(slots, wants("a"))
    tickets = [slots.ask(wants(name)) for name in "bcd"]
    assert slots.counts() == (1, 3)
    served = []
    for _ in tickets:
        slots.release(holder, UNKNOWN)
        holder = next(ticket.lease for ticket in tickets if ticket.lease and ticket.lease.wanted.tenant not in served)
        served.append(holder.wanted.tenant)
    assert served == ["b", "c", "d"]


def test_who_leaves_the_queue_lets_the_next_one_in():
    slots = Slots(2)
    holder = lease(slots, wants("a"))
    both, one = slots.ask(wants("b", answers=2)), slots.ask(wants("c"))
    assert one.lease is None, "first come, first served, although it would fit"
    both.leave()
    assert both.wait() is None
    assert one.wait() is not None
    one.leave()
    assert slots.counts() == (2, 0), "a lease is given back, not left"
    slots.release(holder, UNKNOWN)
    slots.release(one.lease, UNKNOWN)
    assert slots.counts() == (0, 0)


def test_further_answers_take_the_first_free_slots_and_empty_them():
    slots = Slots(4)
    for number, name in enumerate("abcd"):
        assert use(slots, wants(name)).number == number
    many = lease(slots, wants("c", answers=3))
    assert (many.number, many.others, slots.counts()[0]) == (2, [0, 1], 3)
    slots.release(many, Content("c", "", SYSTEM, 400))
    assert lease(slots, wants("c")).reuse
    assert not use(slots, wants("a")).reuse
    assert lease(slots, wants("d")).reuse


def test_what_leaves_its_slot_is_kept_and_comes_back(prefixes):
    slots = Slots(1, prefixes)
    use(slots, wants("a", "hello"))
    other = lease(slots, wants("b"))
    assert other.keep.tenant == "a"
    assert keep(prefixes, other.keep, 400)
    slots.release(other, Content("b", "", other.wanted.text, 400))
    back = lease(slots, wants("a", "hello again"))
    assert back.restore.content.tenant == "a"
    assert (back.reuse, back.keep.tenant) == (True, "b")


def test_nothing_kept_of_one_tenant_is_found_for_another(prefixes):
    keep(prefixes, Content("a", "", SYSTEM, 400), 400)
    keep(prefixes, Content("", "formal", SYSTEM, 400), 400)
    assert prefixes.find(wants("b"), 1) is None
    assert prefixes.find(wants("b", adapter="formal"), 1) is not None


def test_a_platforms_prompt_serves_every_tenant(prefixes):
    slots = Slots(2, prefixes)
    content = Content("", "", SYSTEM, 400)
    slots.release(lease(slots, wants("")), content)
    keep(prefixes, content, 400)
    for name in "abc":
        taken = use(slots, wants(name, name))
        assert taken.reuse
        if taken.restore:
            prefixes.done(taken.restore)


def test_a_longer_conversation_replaces_its_beginning(prefixes, paths):
    first = keep(prefixes, Content("a", "", SYSTEM, 400), 400)
    keep(prefixes, Content("a", "", SYSTEM + "more", 401), 401)
    assert Path(first).stat().st_size == 0
    assert prefixes.has(Content("a", "", SYSTEM, 400))
    assert not prefixes.has(Content("b", "", SYSTEM, 400))


def test_the_limit_holds_and_the_platforms_own_goes_last(prefixes, paths):
    keep(prefixes, Content("", "", SYSTEM, 400), 400)
    keep(prefixes, Content("a", "", "a" * 500, 400), 400)
    keep(prefixes, Content("b", "", "b" * 500, 400), 400)
    assert sum(Path(path).stat().st_size for path in paths) == 800
    assert prefixes.has(Content("", "", SYSTEM, 400))
    assert not prefixes.has(Content("a", "", "a" * 500, 400))
    assert keep(prefixes, Content("c", "", "c" * 9000, 4000), 0) is None, "more than the limit"


def test_what_is_being_read_stays(prefixes):
    keep(prefixes, Content("a", "", SYSTEM, 400), 900)
    reading = prefixes.find(wants("a"), 1)
    assert prefixes.room(Content("b", "", "b" * 500, 400)) is None
    prefixes.done(reading, broken=True)
    assert prefixes.find(wants("a"), 1) is None
    assert keep(prefixes, Content("b", "", "b" * 500, 400), 900)


def test_short_prompts_are_not_worth_keeping(prefixes):
    slots = Slots(1, prefixes)
    use(slots, wants("a"), tokens=20)
    assert lease(slots, wants("b")).keep is None


def test_an_idle_slot_is_held_while_it_is_kept_and_not_afterwards(prefixes):
    slots = Slots(1, prefixes)
    taken = lease(slots, wants())
    content = Content("a", "", SYSTEM, 400)
    assert slots.worth_keeping(content)
    assert not slots.hold(0, content), "it is in use"
    slots.release(taken, content)
    assert not slots.hold(0, Content("a", "", SYSTEM, 400)), "another request may have left the same"
    assert slots.hold(0, content)
    ticket = slots.ask(wants(text="more"))
    assert ticket.lease is None
    keep(prefixes, content, 100)
    slots.let_go(0)
    assert (ticket.lease.number, ticket.lease.keep) == (0, None)
    slots.release(ticket.lease, content)
    assert not slots.hold(0, content), "it is kept already"
    assert not slots.worth_keeping(content)
