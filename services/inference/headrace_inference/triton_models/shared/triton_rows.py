"""Triton's requests over rows of text: several at once, whose rows are computed together."""

import numpy as np
import triton_python_backend_utils as pb_utils


def respond(requests, parse, compute, output):
    """A response to each request, in order.

    Args:
        requests: what Triton batched.
        parse: takes a request; its rows as encodings, or the `TritonError` that it ends with.
        compute: takes the rows of all requests; an array with a row for each.
        output: name of the tensor that this array becomes; beside it goes `tokens`, what each row counted.
    """
    parsed = [parse(request) for request in requests]
    values = compute([encoding for rows in parsed if isinstance(rows, list) for encoding in rows])
    responses, start = [], 0
    for rows in parsed:
        if not isinstance(rows, list):
            responses.append(pb_utils.InferenceResponse(error=rows))
            continue
        end = start + len(rows)
        tokens = np.array([[len(encoding)] for encoding in rows], dtype=np.int32)
        tensors = [pb_utils.Tensor(output, values[start:end]), pb_utils.Tensor("tokens", tokens)]
        responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        start = end
    return responses


def texts_of(request, name):
    """The strings of an input; what is not UTF-8 becomes replacement characters."""
    rows = pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)
    return [row.decode("utf-8", "replace") for row in rows]
