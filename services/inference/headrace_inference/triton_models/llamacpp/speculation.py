"""Speculative decoding: which of llama.cpp's methods, with which parameters.

`ngram` is llama.cpp's `ngram-simple`: it looks for the last tokens in the request's own prompt and answer, and proposes
what followed them there. It has no state, so nothing of one request is proposed to another; `ngram-mod` has one pool
for all, and the maps keep what they counted of the request before in the same slot.
"""

LEAST_PROBABLE = 0.5
"""Draft models: a token that the draft finds less probable ends the proposal. Checking one costs a CPU half a step."""


def configure(params, settings):
    """Set llama.cpp's parameters for `settings["speculation"]`."""
    wanted = settings.get("speculation")
    if not wanted:
        return
    import xllamacpp

    types = xllamacpp.common_speculative_type
    most = wanted["max_draft_tokens"]
    if wanted["method"] == "ngram":
        params.speculative.types = [types.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_m = most
        # llama.cpp proposes nothing at all when fewer tokens are to follow than have to match.
        params.speculative.ngram_simple.size_n = min(wanted["ngram_tokens"], most)
        return
    params.speculative.types = [types.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    draft = params.speculative.draft
    draft.mparams.path = wanted["draft"]
    draft.n_max = most
    draft.p_min = LEAST_PROBABLE
    draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = settings["threads"]


def batch_tokens(settings):
    """Tokens that the engine computes in one step: it must hold all slots with a full draft each."""
    wanted = settings.get("speculation")
    return max(settings["batch_tokens"], settings["slots"] * (1 + (wanted["max_draft_tokens"] if wanted else 0)))


def without(settings):
    """Settings of the instance that does not draft, for requests that must not or for which it does not pay.

    It reads prompts in pieces of the same size: other sizes round differently, and greedy answers are to be the same.
    """
    return {**settings, "speculation": None, "batch_tokens": batch_tokens(settings)}
