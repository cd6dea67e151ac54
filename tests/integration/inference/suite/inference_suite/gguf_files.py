"""GGUF files for tests: LoRA adapters, and models with another chat template."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

RANK = 4


def write_lora(model: Path, out: Path, *, seed: int, strength: float = 0.05) -> Path:
    """A LoRA adapter for `model` whose weights are random but always the same, and change what it says.

    Args:
        model: the GGUF file that it is for.
        out: where it is written.
        seed: of the weights.
        strength: standard deviation of the weights.
    """
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    random = np.random.default_rng(seed)
    for tensor in reader.tensors:
        if tensor.name.endswith(("attn_q.weight", "attn_v.weight")):
            inputs, outputs = (int(size) for size in tensor.shape)
            a = random.normal(0, strength, (RANK, inputs)).astype(np.float32)
            b = random.normal(0, strength, (outputs, RANK)).astype(np.float32)
            writer.add_tensor(tensor.name + ".lora_a", a)
            writer.add_tensor(tensor.name + ".lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def write_with_template(model: Path, out: Path, template: str) -> Path:
    """A copy of `model` with another chat template."""
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = template if name == "tokenizer.chat_template" else field.contents()
        kind = field.types[0]
        writer.add_key_value(name, value, kind, sub_type=field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
