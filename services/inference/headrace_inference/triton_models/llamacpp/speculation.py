"""Speculative decoding: which of llama.cpp's methods, with which parameters.

`ngram` is llama.cpp's `ngram-simple`: it looks for the last tokens in the request's own prompt and answer, and proposes
what followed them there. It has no state, so nothing of one request is proposed to another; `ngram-mod` has one pool
for all, and the maps keep what they counted of the request before in the same slot.
"""

import xllamacpp

_TYPES = xllamacpp.common_speculative_type

LEAST_PROBABLE = 0.5
"""Draft models: a token that the draft finds less probable ends the proposal. Checking one costs a CPU half a step."""


def configure(params, settings):
    """Set llama.cpp's parameters for `settings["speculation"]`."""
    wanted = settings.get("speculation")
    if not wanted:
        return
    most = wanted["max_draft_tokens"]
    if wanted["method"] == "ngram":
        params.speculative.types = [_TYPES.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_m = most
        # llama.cpp proposes nothing at all when fewer tokens are to follow than have to match.
        params.speculative.ngram_simple.size_n = min(wanted["ngram_tokens"], most)
        return
    params.speculative.types = [_TYPES.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    draft = params.speculative.draft
    draft.mparams.path = wanted["draft"]
    draft.n_max = most
    draft.p_min = LEAST_PROBABLE
    draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = settings["threads"]


def step_tokens(settings):
    """Tokens of one step of all slots when each has a full draft: the engine's batch must hold them."""
    wanted = settings.get("speculation")
    return settings["slots"] * (1 + (wanted["max_draft_tokens"] if wanted else 0))
