"""LanceDB's hybrid search: its full-text index and vectors, fused by ranks. Runs in the peers' own Python."""

import json
import sys
import time

import lancedb
import numpy as np
from lancedb.rerankers import RRFReranker


def main() -> None:
    """Texts, vectors and queries in, seconds a query out."""
    asked = json.load(sys.stdin)
    arrays = np.load(asked["vectors"])
    rows = [
        {"text": text, "group": group, "vector": vector.tolist()}
        for text, group, vector in zip(asked["texts"], asked["groups"], arrays["vectors"], strict=True)
    ]
    table = lancedb.connect(asked["folder"] + "/lance").create_table("made", rows)
    table.create_fts_index("text")
    if len(rows) >= 5000:
        table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_HNSW_SQ")
    took = []
    for text, vector in zip(asked["queries"], arrays["queries"], strict=False):
        began = time.perf_counter()
        search = table.search(query_type="hybrid").vector(vector.tolist()).text(text)
        search.where(f"group = '{asked['group']}'", prefilter=True).rerank(RRFReranker()).limit(10).to_list()
        took.append(time.perf_counter() - began)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
