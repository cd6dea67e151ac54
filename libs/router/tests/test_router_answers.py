import pytest

from headrace_router.answers import Answer, agreement, final_answer, surprise


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("B", "B"),
        ("B)\n", "B"),
        (" (b)", "B"),
        ("C) because the moon pulls", "C"),
        ("I do", "i do"),
        ("A dog barks", "a dog barks"),
        ("So she makes 9 * 2 = 18.\n#### 18", "18"),
        ("We add them.\nThe answer is: 1,250.00", "1250"),
        ("It follows that the answer is a dog. Good.", "a dog"),
        (r"Hence \boxed{42}", "42"),
        ('{"b": 1, "a": [2]}', '{"a": [2], "b": 1}'),
        ("Paris.", "paris"),
        ("", ""),
        ("A long story. " * 20, None),
    ],
)
def test_the_conclusion_of_an_answer(text, final):
    assert final_answer(text) == final


def test_answers_that_conclude_the_same_agree():
    assert agreement(Answer("B) since x"), Answer("B")) == (1.0, True)
    assert agreement(Answer("B"), Answer("A")) == (0.0, True)
    share, verdict = agreement(Answer("one two three " * 30), Answer("two three four " * 30))
    assert (share, verdict) == (0.5, False)


def test_the_shape_tells_code_in_another_language_and_code_cut_off():
    python = Answer("Here:\n```python\ndef f(x):\n    return x\n```").shape
    script = Answer("Here:\n```js\nfunction f(x) { return x }\n```").shape
    cut = Answer("Here:\n```python\ndef f(x").shape
    assert (python[2], script[2]) == (1.0, -1.0)
    assert (python[3], cut[3]) == (0.0, 1.0)


def test_an_unusual_conclusion_surprises_more():
    rates = {"A": 0.1, "B": 0.9}
    assert surprise(Answer("A"), rates) > surprise(Answer("B"), rates) > 0
    assert surprise(Answer("a story " * 50), rates) == 0


def test_hostile_text_is_read_in_bounded_time():
    for text in ("(" * 1_000_000, "answer is" * 100_000, "[" * 7000, "\\boxed{" * 100_000, "answer" + ":" * 500_000):
        answer = Answer(text)
        assert len(answer.shape) == 4
