"""The metadata keys that services send each other, written down once."""

from __future__ import annotations

AUTHORIZATION = "authorization"
"""`Bearer <token>`: an API key at the gateway's door, a signed service identity behind it."""

REQUEST_ID = "headrace-request-id"
"""UUIDv7 of the client's request; the same on every hop."""

CONFIG_HASH = "headrace-config-hash"
"""Snapshot that the request was admitted under."""

DEADLINE_MS = "headrace-deadline-ms"
"""Milliseconds that are left, for hosts that drop `grpc-timeout`."""

TRACEPARENT = "traceparent"
"""W3C trace context."""

APPLICATION = "application"
"""The Ray Serve application to route to; ignored elsewhere."""

STATUS_DETAILS = "grpc-status-details-bin"
"""Serialized google.rpc.Status in the trailing metadata of an error."""

RETRY_PUSHBACK = "grpc-retry-pushback-ms"
"""-1 forbids gRPC's own retries: set on errors that a retry cannot mend."""
