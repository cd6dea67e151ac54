"""Words to a model where there should be data: orders to drop its instructions, to leak them, to keep quiet; markers of
chat templates and tool calls; text that people do not see. By their shape alone: the classifiers of tier 2 judge
meaning."""

from __future__ import annotations

from headrace_detectors._pattern import Accepted, Candidate, Pattern
from headrace_detectors._views import View

_GAP = r"[\s,:;\"'*_-]+"
# Any words: negated classes of ASCII keep the automata, which are built for each policy, small.
_FEW = rf"(?:[^\s,:;\"*.!?]+{_GAP}){{0,4}}"
_DROP = (
    r"(?:ignore|disregard|forget|override|overrule|bypass|discard|dismiss|neglect|abandon|drop|skip|cancel"
    r"|set aside|do not follow|don't follow|stop following|pay no attention to|never mind)"
)
_THINGS = (
    r"(?:instructions?|directions?|directives?|orders?|rules|guidelines|guidance|prompts?|prompting|commands?"
    r"|programming|constraints|restrictions|polic(?:y|ies)|safeguards|safety (?:measures|checks)|training"
    r"|context|system message)"
)
_WHOSE = (
    r"(?:all|any|every(?:thing)?|previous|prior|above|earlier|preceding|former|foregoing|initial|original|existing"
    r"|your|system|these|those|what(?:ever)? (?:you|i|was)|before|so far)"
)

_OVERRIDE = rf"\b{_DROP}{_GAP}(?:of{_GAP})?{_FEW}{_WHOSE}{_GAP}{_FEW}{_THINGS}\b"
_OVERRIDE_AFTER = rf"\b{_DROP}{_GAP}{_FEW}{_THINGS}{_GAP}{_FEW}(?:above|before|earlier|previously|so far|were given)\b"
_OVERRIDE_ALL = (
    rf"\b(?:ignore|disregard|forget){_GAP}(?:all|everything|anything)(?:{_GAP}of)?{_GAP}(?:that{_GAP}"
    rf")?(?:is|was|were|came|you|above|before|previous|prior)\b"
)
_OVERRIDE_OTHER = (
    r"\b(?:ignoriere?n?|vergiss|missachte)\s(?:\w+\s){0,5}(?:anweisung(?:en)?|instruktionen|regeln|aufgaben|vorgaben)"
    r"|\b(?:ignora|olvida|ignore|esquece|oublie[rz]?|ignore[rz]?|dimentica|negeer|vergeet)\s(?:\w+\s){0,5}"
    r"(?:instrucciones|reglas|instrucoes|regras|instructions|consignes|regles|istruzioni|regole|instructies|regels)"
    r"|(?:забудь|игнорируй)\s(?:[\p{L}]+\s){0,4}(?:инструкции|правила)"
)

_LEAK = (
    rf"\b(?:reveal|print|show|output|repeat|display|leak|expose|dump|share|recite|disclose|return|give me"
    rf"|tell me|write out|what (?:is|are|was|were))"
    rf"{_GAP}{_FEW}(?:your|the|this){_GAP}(?:(?:full|exact|entire|complete|original|initial|hidden|secret"
    rf"|internal|above|whole|verbatim){_GAP}){{0,3}}"
    rf"(?:system{_GAP}(?:prompt|message|instructions?)|(?:initial|hidden|original|secret|internal"
    rf"){_GAP}(?:prompts?|instructions?|message|rules|directives)|prompt\b)"
)
_LEAK_VERBATIM = (
    rf"\b(?:repeat|print|output|copy|recite|write){_GAP}{_FEW}(?:everything|all|text|words|sentences?"
    rf"|lines?|contents?)"
    rf"{_GAP}{_FEW}(?:above|before this|preceding|given to you|context window)\b"
)

_PERSONA = (
    r"\b(?:do anything now|stay in character (?:or|no matter)|(?:enable|enter|activate|switch to|turn on)"
    r"\s(?:\w+\s){0,2}(?:developer|debug|god|admin|dan|jailbreak|unrestricted|unfiltered|maintenance|evil) mode"
    r"|(?:without|free (?:of|from)|no|not bound by|has no|have no|ignor\w+)\s(?:\w+\s){0,3}"
    r"(?:restrictions|filters?|filtering|censorship|ethical guidelines|content polic(?:y|ies)|moral(?:s|ity)?|ethics)"
    r"\s(?:\w+\s){0,8}(?:ai|chatgpt|assistant|model|answer|respond|chatbot|persona)"
    r"|(?:ai|chatgpt|assistant|model|chatbot)\s(?:\w+\s){0,8}(?:without|free (?:of|from)|no|not bound by"
    r")\s(?:\w+\s){0,3}"
    r"(?:restrictions|filters?|censorship|limits|limitations|morals|ethics|rules|guidelines)\b)"
)

_CONCEAL = (
    rf"\b(?:do not|don't|never|without){_GAP}(?:tell|telling|inform|informing|mention|mentioning|reveal"
    rf"|revealing|alert|alerting|let|show)"
    rf"(?:ing)?{_GAP}(?:this{_GAP}|that{_GAP}|it{_GAP}|anything{_GAP})?(?:to{_GAP})?(?:the{_GAP})?(?:user"
    rf"|human|reader|operator|anyone|anybody)\b"
)
_TO_MACHINES = (
    rf"\b(?:note|message|instruction|instructions|notice|attention|important|reminder|dear|to|hey|hello"
    rf"|if you are|when){_GAP}{_FEW}"
    rf"(?:ai|llms?|language models?|(?:ai|automated|virtual){_GAP}(?:assistants?|agents?|models?|systems?)"
    rf"|chatbots?|chatgpt|gpt|claude|copilot|gemini|assistant|agent)"
    rf"(?:{_GAP}{_FEW}(?:must|should|shall|need to|have to|please|reading|processing|do not|ignore|instead"
    rf"|summari[sz]\w+|when|always|never))"
)

_ROLE_TOKENS = (
    r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id"
    r"|begin_of_text|end)\|>"
    r"|\[/?INST\]|<</?SYS>>|</?s>\s?\[INST"
    r"|(?:^|\n)\s{0,4}#{2,4}\s?(?:system|instruction|human|assistant|user)s?\s?:?\s?(?:\n|$)"
    r"|(?:^|\n)\s{0,4}(?:system|assistant)(?: (?:message|prompt|note|update))?\s?:\s"
    r"|</?(?:system|context|user_input|documents?|instructions?)>"
)
_TOOL_SYNTAX = (
    r'\{\s{0,8}"(?:tool|tool_name|function|function_call|tool_calls?|action|name)"\s{0,4}:\s{0,4}["{\[]'
    r'[^{}]*"(?:arguments|args|parameters|action_input|input|params)"\s{0,4}:'
    r"|</?(?:tool_call|function_call|function|invoke|tool_use|tool)\b[^>]*>"
    r"|(?i:\b(?:call|invoke|execute|run|use) (?:the )?(?:tool|function|plugin|command)s? [`\"']?\w{2,40}[`\"']?)"
)
_HIDDEN = (
    r"(?i)<(?:span|div|p|font|td|a)\b[^>]*(?:display\s?:\s?none|visibility\s?:\s?hidden|font-size\s?:\s?0|"
    r"opacity\s?:\s?0(?:[^.\d]|$)|color\s?:\s?(?:white|#fff(?:fff)?|transparent)\b)[^>]*>"
)
_COMMENT = r"(?is)<!--(.+?)-->"


def _scored(score: float):  # type: ignore[no-untyped-def]
    def accept(candidate: Candidate) -> Accepted | None:
        return Accepted(score, len(candidate.value))

    return accept


_COMMENT_WORDS = ("assistant", "ignore", "instruction", "model", " ai ", "you must", "prompt", "do not tell", "user's")


def _comment(candidate: Candidate) -> Accepted | None:
    """A comment is hidden text; one that speaks to a model is an order."""
    lowered = f" {candidate.value.lower()} "
    told = sum(word in lowered for word in _COMMENT_WORDS)
    return Accepted(0.8 if told >= 2 else 0.55 if told else 0.3, len(candidate.value))


def _folded(kind: str, source: str, score: float) -> Pattern:
    return Pattern(kind, source, View.FOLDED, _scored(score))


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "override": (
        _folded("override", _OVERRIDE, 0.8),
        _folded("override", _OVERRIDE_AFTER, 0.8),
        _folded("override", _OVERRIDE_ALL, 0.7),
        _folded("override", _OVERRIDE_OTHER, 0.75),
    ),
    "leak": (_folded("leak", _LEAK, 0.7), _folded("leak", _LEAK_VERBATIM, 0.6)),
    "persona": (_folded("persona", _PERSONA, 0.7),),
    "conceal": (_folded("conceal", _CONCEAL, 0.7),),
    "to_machines": (_folded("to_machines", _TO_MACHINES, 0.6),),
    "role_tokens": (Pattern("role_tokens", f"(?i){_ROLE_TOKENS}", accept=_scored(0.7)),),
    "tool_syntax": (Pattern("tool_syntax", _TOOL_SYNTAX, accept=_scored(0.6)),),
    "hidden_text": (
        Pattern("hidden_text", _HIDDEN, accept=_scored(0.6)),
        Pattern("hidden_text", _COMMENT, accept=_comment, group=1),
    ),
}
"""What finds each kind. Scores are below 1: the same words also stand in texts about them."""

INSTRUCTION_KINDS = tuple(PATTERNS)
"""Every kind of instruction there is a pattern for."""

PHRASES = (_OVERRIDE, _OVERRIDE_AFTER, _OVERRIDE_ALL, _LEAK, _PERSONA, _CONCEAL)
"""Sources over folded text that a decoded payload is held against."""
