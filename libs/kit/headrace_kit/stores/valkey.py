"""Connections to Valkey, or any store that speaks its protocol."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff


def connect(url: str, timeout_s: float = 1) -> Redis:
    """A client with a pool; it connects at the first command and again after the server was away.

    Args:
        url: redis:// or rediss:// with user, password and database.
        timeout_s: longest wait for a connection and for an answer.
    """
    client: Redis = Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), retries=1),
    )
    return client
