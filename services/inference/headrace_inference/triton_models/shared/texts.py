"""Batches of texts for ONNX models: token arrays of similar length, so that little is computed on padding."""

import numpy as np


def batches(lengths, max_tokens):
    """Lists of indices into `lengths`, each list padded to its longest within `max_tokens` in all."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batch = []
    for index in order:
        if batch and lengths[index] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def pad(encodings):
    """`input_ids`, `attention_mask` and `token_type_ids`, padded with zeros to the longest."""
    width = max(len(encoding) for encoding in encodings)
    ids = np.zeros((len(encodings), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    types = np.zeros_like(ids)
    for row, encoding in enumerate(encodings):
        length = len(encoding)
        ids[row, :length] = encoding.ids
        mask[row, :length] = 1
        types[row, :length] = encoding.type_ids
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
