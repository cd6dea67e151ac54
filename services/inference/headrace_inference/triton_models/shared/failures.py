"""How a request ends in an error."""


class RequestFailed(Exception):
    """A request ends with this typed error chunk.

    Args:
        code: a code of the wire format, see `answer_stream`.
        message: what was wrong and what to do.
        param: the field at fault.
    """

    def __init__(self, code, message, param=None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
