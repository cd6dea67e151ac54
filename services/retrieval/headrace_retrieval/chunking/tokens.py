"""A count of tokens that needs no model: never far below what a WordPiece or BPE vocabulary would make of the text.

An embedding model cuts off what is over its limit, so a passage that counts too few tokens would have an end that no
search finds; one that counts too many is only a little shorter.
"""

from __future__ import annotations

import re

_PIECE = re.compile(r"[A-Za-z]+|[0-9]+|[\u00c0-\u024f]+|\S")
_LETTERS_A_TOKEN = 6
_DIGITS_A_TOKEN = 2
_ACCENTED_A_TOKEN = 2


def count_tokens(text: str) -> int:
    """About how many tokens a model reads; a symbol, or a letter outside the Latin scripts, counts as one."""
    total = 0
    for match in _PIECE.finditer(text):
        length = match.end() - match.start()
        first = text[match.start()]
        if first.isascii() and first.isalpha():
            total += -(-length // _LETTERS_A_TOKEN)
        elif "0" <= first <= "9":
            total += -(-length // _DIGITS_A_TOKEN)
        elif length > 1:
            total += -(-length // _ACCENTED_A_TOKEN)
        else:
            total += 1
    return total
