"""Weights that are converted when llama.cpp loads them."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from headrace_inference.rendering.gguf import read
from headrace_inference.triton_models.llamacpp.weights import FOLDER, prepared

Q4_1, Q8_0, F32 = (gguf.GGMLQuantizationType[name] for name in ("Q4_1", "Q8_0", "F32"))


@pytest.fixture
def model(tmp_path) -> Path:
    """A file with a matrix as Q4_1, one with rows that fill no block, and a vector."""
    path = tmp_path / "model.gguf"
    numbers = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_block_count(2)
    writer.add_token_list(["a", "b", "c"])
    writer.add_token_scores([0.5, 1.5, 2.5])
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("blk.0.attn_q.weight", gguf.quants.quantize(numbers, Q4_1), raw_dtype=Q4_1)
    writer.add_tensor("odd.weight", numbers[:, :5].astype(np.float16))
    writer.add_tensor("norm.weight", numbers[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(path: str | Path) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def test_matrices_become_q8_0_and_the_rest_stays(model):
    before = tensors(model)
    with prepared({"model": str(model), "weights": "q8_0"}) as path:
        after = tensors(path)
        assert read(Path(path)).kind == "q8_0"
        fields = gguf.GGUFReader(path).fields
    assert [after[name].tensor_type for name in before] == [Q8_0, gguf.GGMLQuantizationType.F16, F32]
    wanted = gguf.quants.dequantize(before["blk.0.attn_q.weight"].data, Q4_1)
    made = gguf.quants.dequantize(after["blk.0.attn_q.weight"].data, Q8_0)
    assert np.abs(wanted - made).max() <= np.abs(wanted).max() / 254 + 1e-3
    assert np.array_equal(before["odd.weight"].data, after["odd.weight"].data)
    assert np.array_equal(before["norm.weight"].data, after["norm.weight"].data)
    kept = {name: field.contents() for name, field in gguf.GGUFReader(model).fields.items()}
    assert {name: field.contents() for name, field in fields.items()} | {
        name: kept[name] for name in kept if name.startswith("GGUF.") or name == "general.file_type"
    } == kept


def test_it_is_done_once(model):
    with prepared({"model": str(model), "weights": "q8_0"}) as path:
        first = Path(path).stat()
    with prepared({"model": str(model), "weights": "q8_0"}) as path:
        again = Path(path).stat()
    assert (first.st_ino, first.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)
    assert [left.name for left in (model.parent / FOLDER).iterdir()] == ["model.gguf-q8_0.gguf"]


def test_where_the_folder_cannot_be_written_a_file_is_there_for_the_load_only(model):
    (model.parent / FOLDER).write_text("in the way")
    with prepared({"model": str(model), "weights": "q8_0"}) as path:
        assert read(Path(path)).kind == "q8_0"
    assert not Path(path).exists()


def test_a_damaged_file_leaves_nothing(model):
    model.write_bytes(model.read_bytes()[:-200])
    with (
        pytest.raises(RuntimeError, match=r"could not load .*model.gguf: it cannot be converted"),
        prepared({"model": str(model), "weights": "q8_0"}),
    ):
        raise AssertionError("it must not get here")
    assert list((model.parent / FOLDER).iterdir()) == []


def test_weights_are_taken_as_they_are_otherwise(model):
    with prepared({"model": str(model), "weights": None}) as path:
        assert path == str(model)
    assert not (model.parent / FOLDER).exists()
