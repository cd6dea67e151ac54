"""bm25s with its English stop words and Snowball's stemmer. Runs in the peers' own Python."""

import json
import sys
from typing import Any

import bm25s
import Stemmer


def main() -> None:
    """Documents and queries in, the places of the best documents out."""
    asked = json.load(sys.stdin)
    stemmer = Stemmer.Stemmer("english")

    def words(texts: list[str]) -> Any:
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    index = bm25s.BM25()
    index.index(words(asked["documents"]), show_progress=False)
    depth = min(asked["depth"], len(asked["documents"]))
    places, scores = index.retrieve(words(asked["queries"]), k=depth, show_progress=False)
    answer = [
        [int(place) for place, score in zip(*row, strict=True) if score > 0] for row in zip(places, scores, strict=True)
    ]
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
