"""Phoenix's server with its OTLP port on loopback: run by the Python of its environment, with Phoenix's own variables.

Phoenix binds that port on all addresses and has no setting for it.
"""

import sys

from grpc import aio

if __name__ == "__main__":
    _bind = aio.Server.add_insecure_port
    aio.Server.add_insecure_port = lambda self, address: _bind(self, address.replace("[::]", "127.0.0.1"))
    from phoenix.server.main import main

    sys.argv = ["phoenix", "serve"]
    main()
