"""Where services run: plain processes or Ray Serve. Only this package knows the difference."""

from headrace_kit.hosting.http import HttpLimits
from headrace_kit.hosting.service import HttpApp, ServiceApp, ServiceRuntime, Servicing

__all__ = ["HttpApp", "HttpLimits", "ServiceApp", "ServiceRuntime", "Servicing"]
