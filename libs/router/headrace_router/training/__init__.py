"""Making routers, offline: needs the extra `train`. Nothing that serves imports this."""
