"""The one error of this package."""

from __future__ import annotations


class BadCheck(ValueError):
    """A check cannot be built as it was written.

    Args:
        message: what is wrong and what to write instead.
        path: the setting at fault, from the policy down, for example `output[0].patterns.ticket`.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path

    def under(self, parent: str) -> BadCheck:
        """The same error, its path continued upwards by `parent`."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return BadCheck(self.message, path=f"{parent}{joint}{self.path}")
