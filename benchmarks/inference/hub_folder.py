"""A GGUF file as the folder that Hugging Face's libraries read: config, tokenizer and weights in bfloat16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_PRE_TOKENIZERS = {
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL]}
}
"""By llama.cpp's name of them."""

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL, _USER_DEFINED = 3, 4
"""Kinds of tokens that are never made by merging."""


def write(source: Path, folder: Path) -> None:
    """Write the files; the weights take 2 bytes each, and are rounded to 8 bits of mantissa.

    Args:
        source: GGUF file of a Llama model with a byte level BPE vocabulary; of any quantization.
        folder: is there already.

    Raises:
        ValueError: it is of another architecture or has another kind of tokenizer; the message names it.
    """
    reader = gguf.GGUFReader(source)
    said = {name: field.contents() for name, field in reader.fields.items()}
    found = (said["general.architecture"], said["tokenizer.ggml.model"], said.get("tokenizer.ggml.pre"))
    if found[:2] != ("llama", "gpt2") or found[2] not in _PRE_TOKENIZERS:
        raise ValueError(
            f"{source.name} has architecture, tokenizer and pre-tokenizer {found}, and what is known here is "
            f"('llama', 'gpt2', {' or '.join(map(repr, _PRE_TOKENIZERS))}): use --model smollm2-135m"
        )
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    files = {
        "config.json": _config(said, tied),
        "generation_config.json": {"eos_token_id": said["tokenizer.ggml.eos_token_id"]},
        "tokenizer.json": _tokenizer(said),
        "tokenizer_config.json": _tokenizer_config(said),
    }
    for name, document in files.items():
        (folder / name).write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    _weights(reader, said, folder / "model.safetensors")


def _config(said: dict[str, Any], tied: bool) -> dict[str, Any]:
    width, heads = said["llama.embedding_length"], said["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": len(said["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": said["llama.feed_forward_length"],
        "num_hidden_layers": said["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": said["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "max_position_embeddings": said["llama.context_length"],
        "rms_norm_eps": said["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": said["llama.rope.freq_base"]},
        "tie_word_embeddings": tied,
        "bos_token_id": said["tokenizer.ggml.bos_token_id"],
        "eos_token_id": said["tokenizer.ggml.eos_token_id"],
    }


def _tokenizer(said: dict[str, Any]) -> dict[str, Any]:
    tokens, kinds = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == _CONTROL,
        }
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": _PRE_TOKENIZERS[said["tokenizer.ggml.pre"]],
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in said["tokenizer.ggml.merges"]],
        },
    }


def _tokenizer_config(said: dict[str, Any]) -> dict[str, Any]:
    tokens = said["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[said["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[said["tokenizer.ggml.eos_token_id"]],
        "chat_template": said["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": said["llama.context_length"],
    }


def _weights(reader: gguf.GGUFReader, said: dict[str, Any], file: Path) -> None:
    """A safetensors file: length of the header, the header as JSON, the tensors one after the other."""
    heads = {"attn_q": said["llama.attention.head_count"], "attn_k": said["llama.attention.head_count_kv"]}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts: list[bytes] = []
    end = 0
    for tensor in reader.tensors:
        name, kind = _name(tensor.name)
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if kind in heads:
            values = _rotated_by_halves(values, heads[kind])
        data = gguf.quantize(values, gguf.GGMLQuantizationType.BF16).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [end, end + len(data)]}
        parts.append(data)
        end += len(data)
    start = json.dumps(header).encode()
    start += b" " * (-len(start) % 8)
    with file.open("wb") as target:
        target.write(len(start).to_bytes(8, "little"))
        target.write(start)
        target.writelines(parts)


def _name(name: str) -> tuple[str, str]:
    """A tensor's name as Hugging Face has it, and its kind: `blk.0.attn_q.weight` is of the kind `attn_q`."""
    *block, kind, weight = name.split(".")
    layer = f"model.layers.{block[1]}." if block else ""
    return f"{layer}{_NAMES[kind]}.{weight}", kind


def _rotated_by_halves(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a matrix whose results RoPE rotates, in Hugging Face's order.

    llama.cpp rotates neighbours, the first with the second; Hugging Face the first with the first of the other half.
    """
    rows, columns = values.shape
    pairs = values.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, columns))
