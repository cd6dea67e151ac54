"""Who is next in the queue, against a model that counts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_inference.domain.fair_queue import QUANTUM, Entry, FairQueue


def filled(*requests: tuple[str, int] | tuple[str, int, int]) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue()
    for number, (tenant, cost, *priority) in enumerate(requests):
        queue.push(Entry(number, tenant, priority[0] if priority else 0, cost))
    return queue


def drained(queue: FairQueue[int]) -> list[int]:
    order = []
    while (entry := queue.take()) is not None:
        order.append(entry.item)
    return order


def test_one_tenant_is_served_in_the_order_of_arrival():
    assert drained(filled(*[("a", 1000)] * 5)) == [0, 1, 2, 3, 4]


def test_a_flood_does_not_hold_up_another_tenant():
    queue = filled(*[("flood", 1000)] * 50, ("small", 1000))
    assert drained(queue).index(50) <= 1


def test_tenants_share_tokens_not_requests():
    queue = filled(*[("long", 3000)] * 40, *[("short", 300)] * 400)
    served: Counter[str] = Counter()
    for _ in range(110):
        entry = queue.take()
        assert entry is not None
        served[entry.tenant] += entry.cost
    assert abs(served["long"] - served["short"]) <= 3000 + 300 + QUANTUM
    assert min(served.values()) > 15_000


def test_a_higher_priority_goes_first_and_a_chosen_head_stays_until_then():
    queue = filled(("a", 10), ("b", 10), ("b", 10))
    head = queue.head()
    queue.push(Entry(7, "c", 0, 1))
    assert queue.head() is head
    queue.push(Entry(9, "c", 5, 99_999))
    assert drained(queue)[0] == 9


def test_a_tenant_that_used_less_than_estimated_gets_it_back():
    plain, refunded = (filled(*[("a", 1000), ("b", 1000)] * 4) for _ in range(2))
    assert [plain.take().tenant for _ in range(4)] == ["a", "b", "a", "b"]
    first = refunded.take()
    refunded.correct(first.tenant, 0, -2000)
    assert [refunded.take().tenant for _ in range(3)] == ["a", "a", "b"]


def test_when_it_is_full_the_tenant_with_most_queued_tokens_loses_its_newest():
    queue = filled(("flood", 100), ("flood", 100), ("small", 50))
    assert queue.displaced_by("third", 0, 10).item == 1
    assert queue.displaced_by("flood", 0, 10) is None, "the newcomer is the flood's newest"
    assert queue.displaced_by("third", 0, 1000) is None, "the newcomer has most"
    assert queue.displaced_by("third", -1, 10) is None, "nothing of a lower priority is there to go"
    queue.push(Entry(9, "small", -1, 1))
    assert queue.displaced_by("flood", 0, 1000).item == 9, "lower priorities go first"


def test_what_stands_before_a_newcomer_is_bounded_by_turns():
    queue = filled(*[("flood", 1000)] * 50, ("urgent", 70, 5))
    assert queue.ahead_of("new", 0, 500) == 500 + 70
    assert queue.ahead_of("flood", 0, 500) == 50_000 + 70
    assert queue.ahead_of("new", 5, 500) == 70
    assert queue.ahead_of("new", 9, 500) == 0


costs = st.integers(1, 4000)
tenants = st.sampled_from("abcd")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(tenants, costs, st.integers(0, 2)), max_size=60), st.data())
def test_everything_is_served_once_whatever_comes_and_goes(requests, data):
    queue: FairQueue[int] = FairQueue()
    waiting: dict[int, Entry[int]] = {}
    served = []
    for number, (tenant, cost, priority) in enumerate(requests):
        entry = Entry(number, tenant, priority, cost)
        queue.push(entry)
        waiting[number] = entry
        action = data.draw(st.sampled_from(["take", "remove", "correct", "nothing"]))
        if action == "take":
            best = max(entry.priority for entry in waiting.values())
            taken = queue.take()
            assert taken is not None, "work is conserved"
            assert taken.priority == best
            older = [n for n, e in waiting.items() if (e.tenant, e.priority) == (taken.tenant, taken.priority)]
            assert taken.item == min(older), "first come, first served within a tenant"
            served.append(waiting.pop(taken.item).item)
        elif action == "remove" and waiting:
            gone = waiting.pop(data.draw(st.sampled_from(sorted(waiting))))
            queue.remove(gone)
            queue.remove(gone)
        elif action == "correct":
            queue.correct(tenant, priority, data.draw(st.integers(-4000, 4000)))
        assert len(queue) == len(waiting)
    rest = drained(queue)
    assert sorted(rest) == sorted(waiting)
    assert not set(rest) & set(served)


@settings(max_examples=200, deadline=None)
@given(st.lists(costs, min_size=30, max_size=30), st.lists(costs, min_size=30, max_size=30), st.integers(1, 25))
def test_two_tenants_that_wait_all_the_time_get_the_same_within_two_requests_and_a_quantum(ones, others, rounds):
    queue = filled(*[("one", cost) for cost in ones], *[("other", cost) for cost in others])
    served: Counter[str] = Counter()
    for _ in range(rounds):
        entry = queue.take()
        assert entry is not None
        served[entry.tenant] += entry.cost
        assert abs(served["one"] - served["other"]) <= 2 * max(*ones, *others) + QUANTUM
