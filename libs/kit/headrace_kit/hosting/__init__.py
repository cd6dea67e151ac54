"""Where services run: plain processes or Ray Serve. Only this package knows the difference."""

from headrace_kit.hosting.service import HttpApp, ServiceApp, ServiceRuntime, Servicing

__all__ = ["HttpApp", "ServiceApp", "ServiceRuntime", "Servicing"]
