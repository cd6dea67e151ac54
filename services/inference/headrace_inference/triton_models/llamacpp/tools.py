"""How a model is told of a request's tools, and how it must answer where a call is required.

Styles: `hermes`, a JSON object in `<tool_call>` tags, which is what Qwen's and many other templates teach; `json`, a
bare object; `native`, llama.cpp's own parser of the model's template.
"""

import json

from ..shared.failures import RequestFailed
from . import grammar
from .tool_parser import CLOSE, OPEN, ToolParser

_INSTRUCTION = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
%s
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


class Offer:
    """The tools of one request.

    Args:
        document: the request.
        setting: the deployment's `tool_parser`: `auto`, `hermes` or `json`.
        template: the model's chat template.
        plain: llama.cpp's own parser cannot be used with what else the request asks for.

    Attributes:
        style: `hermes`, `json`, `native`, or empty where the request offers no tools.
        names: of the functions.
        must_call: an answer without a call is not wanted.
        parallel: more than one call is wanted.

    Raises:
        RequestFailed: the tools are not what they should be.
    """

    def __init__(self, document, setting, template, plain):
        self.style = ""
        self.names = ()
        self.must_call = False
        self.parallel = document.get("parallel_tool_calls") is not False
        # Where a grammar has the word, a small model calls again and again if it may: it must be asked for.
        self._several = document.get("parallel_tool_calls") is True
        choice = document.get("tool_choice") or "auto"
        self._tools = document.get("tools") or []
        self._injected = False
        if not self._tools or choice == "none":
            return
        for place, tool in enumerate(self._tools):
            function = tool.get("function") if isinstance(tool, dict) else None
            if not isinstance(function, dict) or not function.get("name") or not isinstance(function["name"], str):
                raise RequestFailed("invalid_request", "a tool must be a function with a name", "tools[%d]" % place)
        if choice not in ("auto", "required"):
            self.parallel = self._several = False
            # No engine can name a function: offering only that one and requiring a call is the same.
            self._tools = [tool for tool in self._tools if tool["function"]["name"] == choice]
            if not self._tools:
                raise RequestFailed(
                    "invalid_request", "tool_choice names %r, which is not among tools" % choice, "tool_choice"
                )
        self.must_call = choice != "auto"
        self.names = tuple(tool["function"]["name"] for tool in self._tools)
        self._injected = "tools" not in template
        if setting != "auto":
            self.style = setting
        elif self._injected or OPEN in template:
            self.style = "hermes"
        elif self.must_call or plain:
            # llama.cpp's own parser comes without log probabilities, and its grammar does not hold beside llguidance.
            self.style = "json"
        else:
            self.style = "native"

    def put_into(self, body):
        """Tell the model of the tools, in the engine's request `body`."""
        if self.style == "native":
            body["tools"] = self._tools
            body["tool_choice"] = "auto"
            body["parallel_tool_calls"] = self.parallel
        elif self._injected:
            body["messages"] = _with_instruction(body["messages"], self._tools)
        elif self.style:
            # As a variable of the template: with `tools` llama.cpp would refuse a grammar.
            body["chat_template_kwargs"] = {"tools": self._tools}

    def rules(self, answer):
        """Rules of the whole answer, or None where it is not constrained by tools.

        Args:
            answer: the rule of an answer that is not a call; None for free text.
        """
        if self.style not in ("hermes", "json"):
            return None
        strict = [tool["function"].get("strict") is True for tool in self._tools]
        # Only a tag tells the beginning of a call: without one free text cannot be told from it.
        if not self.must_call and not answer and not (self.style == "hermes" and any(strict)):
            return None
        bodies = []
        for place, tool in enumerate(self._tools):
            function = tool["function"]
            what = "the parameters of tool %r" % function["name"]
            schema = _arguments(function.get("parameters"))
            arguments = grammar.schema_rule(schema, what, "tools[%d].function.parameters" % place)
            start = '{"name": %s, "arguments": ' % json.dumps(function["name"], ensure_ascii=False)
            before, after = ("\n" + start, "}\n" + CLOSE) if self.style == "hermes" else (start, "}")
            bodies.append("(%s %s %s)" % (grammar.text_rule(before), arguments, grammar.text_rule(after)))
        rules = {"body": " | ".join(bodies)}
        if not self.must_call and not answer:
            # Free text, but what follows a tag is a call.
            rules["start"] = "tagged* text" if self.parallel else "tagged? text"
            rules["tagged"] = "opened body"
            rules["opened[lazy]"] = "/(?s:.*)%s/" % OPEN
            rules["text"] = "/(?s:.*)/"
            return rules
        rules["call"] = "%s body" % grammar.text_rule(OPEN) if self.style == "hermes" else "body"
        rules["calls"] = 'call ("\\n" call)*' if self._several else "call"
        rules["start"] = "calls" if self.must_call else "calls | answer"
        if not self.must_call:
            rules["answer"] = answer
        return rules

    def parser(self):
        """A parser of one choice's text, or None where there is nothing to parse."""
        return ToolParser(self.names, None if self.parallel else 1) if self.style else None


def _arguments(schema):
    """The schema of a function's arguments: only those that it declares, where it does not say otherwise."""
    if schema is None:
        return {"type": "object"}
    if isinstance(schema, dict) and "properties" in schema:
        return {"additionalProperties": False, **schema}
    return schema


def _with_instruction(messages, tools):
    """The conversation for a template that knows no tools: they are told in the system prompt."""
    text = _INSTRUCTION % "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    told = []
    for message in messages:
        if message.get("role") == "tool":
            content = "<tool_response>\n%s\n</tool_response>" % _text(message)
            told.append({"role": "user", "content": content})
        elif message.get("tool_calls"):
            calls = [
                '%s\n{"name": %s, "arguments": %s}\n%s'
                % (OPEN, json.dumps(call["function"]["name"]), call["function"].get("arguments") or "{}", CLOSE)
                for call in message["tool_calls"]
            ]
            told.append({"role": message["role"], "content": "\n".join([*filter(None, [_text(message)]), *calls])})
        else:
            told.append(message)
    if told and told[0].get("role") == "system":
        return [{"role": "system", "content": _text(told[0]) + "\n\n" + text}, *told[1:]]
    return [{"role": "system", "content": text}, *told]


def _text(message):
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
