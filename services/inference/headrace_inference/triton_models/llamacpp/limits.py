"""What no request to a llama.cpp deployment can have; needs no library, so that it can be asked before a queue."""

from ..shared.failures import RequestFailed


def check(document, settings):
    """Refuse what this engine cannot do.

    Args:
        document: the request: `n`, `messages`, `tools`, `tool_choice` and `adapter` are looked at.
        settings: `slots`, `tool_parser` and `adapters` of the deployment's `settings.json`.

    Raises:
        RequestFailed: `unsupported`, with the field at fault.
    """
    answers = document.get("n") or 1
    if answers > settings["slots"]:
        message = "n is %d, but this deployment computes at most %d answers at once" % (answers, settings["slots"])
        raise RequestFailed("unsupported", message, "n")
    if document.get("tools") and document.get("tool_choice") != "none" and settings.get("tool_parser") == "none":
        raise RequestFailed("unsupported", "this deployment takes no tools (its tool_parser is none)", "tools")
    name, adapters = document.get("adapter"), settings.get("adapters") or {}
    if name and name not in adapters:
        known = ", ".join(sorted(adapters))
        message = "this deployment has no adapter %r; %s" % (name, "it has " + known if known else "it has none")
        raise RequestFailed("unsupported", message, "adapter")
    for number, message in enumerate(document.get("messages") or ()):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list | tuple) else ()):
            kind = part.get("type", "text")
            if kind != "text":
                where = "messages[%d].content[%d]" % (number, place)
                raise RequestFailed("unsupported", "this deployment takes text only, not %s" % kind, where)
