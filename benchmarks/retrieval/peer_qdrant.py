"""Qdrant's local mode: sparse vectors of words and dense ones, fused by ranks. Runs in the peers' own Python."""

import json
import sys
import time
import zlib
from collections import Counter

import numpy as np
from qdrant_client import QdrantClient, models


def words(text: str) -> models.SparseVector:
    """A text as a sparse vector of its words; the server's idf weighs them."""
    counts = Counter(zlib.crc32(word.encode()) for word in text.split())
    return models.SparseVector(indices=list(counts), values=[float(count) for count in counts.values()])


def main() -> None:
    """Texts, vectors and queries in, seconds a query out."""
    asked = json.load(sys.stdin)
    arrays = np.load(asked["vectors"])
    client = QdrantClient(":memory:")
    client.create_collection(
        "made",
        vectors_config={"dense": models.VectorParams(size=arrays["vectors"].shape[1], distance=models.Distance.COSINE)},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    points = [
        models.PointStruct(id=number, vector={"dense": vector.tolist(), "words": words(text)}, payload={"group": group})
        for number, (text, group, vector) in enumerate(
            zip(asked["texts"], asked["groups"], arrays["vectors"], strict=True)
        )
    ]
    client.upsert("made", points)
    only = models.Filter(must=[models.FieldCondition(key="group", match=models.MatchValue(value=asked["group"]))])
    took = []
    for text, vector in zip(asked["queries"], arrays["queries"], strict=False):
        began = time.perf_counter()
        client.query_points(
            "made",
            prefetch=[
                models.Prefetch(query=vector.tolist(), using="dense", limit=50, filter=only),
                models.Prefetch(query=words(text), using="words", limit=50, filter=only),
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            limit=10,
        )
        took.append(time.perf_counter() - began)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
