"""English words that say how a sentence is built, and nothing of what it is about.

A query without them ranks as well or better: a word that is in most passages weighs little, but a question is made of
many of them. Passages keep theirs, so a query of nothing else (`to be or not to be`) is still found.
"""

from __future__ import annotations

_ARTICLES_AND_DETERMINERS = """
a an the this that these those each every either neither both all any some no such other another own same
"""
_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves one
"""
_QUESTIONS = "who whom whose which what when where why how whether"
_AUXILIARIES = """
am is are was were be been being have has had having do does did doing done can could may might must shall should will
would
"""
_PREPOSITIONS = """
about above across after against along among around as at before behind below beneath beside between beyond by down
during for from in inside into near of off on onto out outside over per since than through throughout to toward towards
under until up upon via with within without
"""
_CONJUNCTIONS_AND_ADVERBS = """
and or but nor so yet if then else because although though while whereas unless not only also just too very more most
much many less least few here there again further once ever
"""

FUNCTION_WORDS = tuple(
    sorted(
        {
            *_ARTICLES_AND_DETERMINERS.split(),
            *_PRONOUNS.split(),
            *_QUESTIONS.split(),
            *_AUXILIARIES.split(),
            *_PREPOSITIONS.split(),
            *_CONJUNCTIONS_AND_ADVERBS.split(),
        }
    )
)
