"""llama.cpp's own HTTP server, bare: prints its port, and serves until its input is closed.

Run by Triton's environment: llamacpp_server.py MODEL_FILE NAME SLOTS CONTEXT_TOKENS
"""

import sys

import xllamacpp


def main():
    model, name, slots, context_tokens = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    params.verbosity = 1
    params.n_parallel = int(slots)
    params.n_ctx = int(slots) * int(context_tokens)
    params.n_batch = params.n_ubatch = 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


main()
