import pytest

from headrace_gateway.cascade.learned import load_learned, prompt_of
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_router import save
from headrace_router.fakes import fake_router


def test_a_router_serves_the_deployments_that_may_be_asked(tmp_path):
    save(fake_router(), tmp_path / "r.json")
    learned = load_learned(tmp_path / "r.json", 1000, ["small", "large"])
    assert learned.dimensions == 0
    assert learned.text_to_embed("x" * 10_000 + "?").endswith("x?")
    assert learned.begin("why?", None, ["small", "large"]).next().ask == "small"
    assert learned.begin("why?", None, ["large"]).next().ask == "large"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("{}"), "not a router file"),
        (lambda path: save(fake_router(), path), "not on huge"),
    ],
)
def test_a_file_that_cannot_serve_is_named(tmp_path, make, said):
    make(tmp_path / "r.json")
    with pytest.raises(ValueError, match=said) as refused:
        load_learned(tmp_path / "r.json", 1, ["small", "huge"])
    assert "r.json" in str(refused.value)


def test_the_newest_message_comes_last():
    messages = [Message(role=role, parts=[ContentPart(text=role)]) for role in ("system", "user")]
    assert prompt_of(messages) == "system\nuser"
    assert prompt_of([], "bare") == "bare"
