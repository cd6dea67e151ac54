"""The calls of the HTTP API by subject; `AsyncHeadrace` is all of them."""
