"""RouterBench's and RouteLLM's files as datasets of ours. Only training splits are read, unless a folder of held-out
files is named.

- `routerbench_*.csv` (RouterBench, Hu and others, 2024): a column of scores a model, and `NAME|model_response`,
  `NAME|total_cost`.
- `routellm.gsm8k_responses.csv` (RouteLLM, Ong and others, 2024): right or wrong, and the answers of two models; it
  tells no costs.
- `routellm.mt_bench.judgements.jsonl`: GPT-4's marks of 1 to 10 for two turns of two models.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import re
from pathlib import Path

from headrace_router.training.dataset import Dataset, Row, gather

PRICES = {"gpt-4-1106-preview": (10.0, 30.0), "mistralai/Mixtral-8x7B-Instruct-v0.1": (0.6, 0.6)}
"""US dollars for a million tokens in and out, of November 2023 and January 2024: where a file has no costs."""
CHARS_PER_TOKEN = 4.0


def routerbench(folder: Path, split: str = "train") -> Dataset | None:
    """All tasks of RouterBench that lie in a folder, each a group; None where there is none."""
    files = sorted(folder.glob(f"routerbench_*.{split}.csv"))
    if not files:
        return None
    rows = [row for file in files for row in _routerbench_rows(file)]
    return gather(rows, None, _digest(files), str(folder))


def _routerbench_rows(file: Path) -> list[Row]:
    csv.field_size_limit(1 << 30)
    found = []
    with file.open(encoding="utf-8", newline="") as opened:
        for cells in csv.DictReader(opened):
            models = [name.removesuffix("|total_cost") for name in cells if name.endswith("|total_cost")]
            found.append(
                Row(
                    prompt=_listed(cells["prompt"]),
                    scores={name: float(cells[name]) for name in models if cells[name] != ""},
                    costs={name: float(cells[f"{name}|total_cost"]) for name in models if cells[f"{name}|total_cost"]},
                    answers={name: _listed(cells[f"{name}|model_response"]) for name in models},
                    signals={},
                    group=cells["eval_name"],
                )
            )
    return found


def _listed(cell: str) -> str:
    """The texts of a Python list that was written into a cell."""
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return cell
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def gsm8k(folder: Path) -> Dataset | None:
    """RouteLLM's gsm8k answers."""
    file = folder / "routellm.gsm8k_responses.csv"
    if not file.is_file():
        return None
    rows = []
    with file.open(encoding="utf-8", newline="") as opened:
        for cells in csv.DictReader(opened):
            models = [name for name in PRICES if name in cells]
            answers = {name: cells[f"{name}_response"] for name in models}
            rows.append(
                Row(
                    prompt=cells["prompt"],
                    scores={name: float(cells[name] == "True") for name in models},
                    costs={name: price(name, cells["prompt"], answers[name]) for name in models},
                    answers=answers,
                    signals={},
                    group="gsm8k",
                )
            )
    return gather(rows, None, _digest([file]), str(file))


_TURN = re.compile(r"### (User|Assistant A):\n(.*?)(?=\n### |\n<\|The End)", re.DOTALL)


def mt_bench(folder: Path) -> Dataset | None:
    """MT-Bench's turns; a mark m of 1 to 10 is the score (m - 1) / 9."""
    file = folder / "routellm.mt_bench.judgements.jsonl"
    if not file.is_file():
        return None
    turns: dict[tuple[int, int], dict[str, tuple[str, str, float]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        said = _TURN.findall(entry["user_prompt"])
        asked = [text.strip() for who, text in said if who == "User"]
        answered = [text.strip() for who, text in said if who != "User"]
        turn = int(entry["turn"])
        if len(asked) < turn or len(answered) < turn or not 1 <= float(entry["score"]) <= 10:
            continue
        # of the first turn's answer, which differs by model, nothing is in the prompt
        of = turns.setdefault((int(entry["question_id"]), turn), {})
        of[entry["model"]] = "\n".join(asked[:turn]), answered[turn - 1], (float(entry["score"]) - 1) / 9
    rows = [
        Row(
            prompt=next(iter(of.values()))[0],
            scores={name: score for name, (_, _, score) in of.items()},
            costs={name: price(name, prompt, answer) for name, (prompt, answer, _) in of.items()},
            answers={name: answer for name, (_, answer, _) in of.items()},
            signals={},
            group="mt_bench",
        )
        for of in turns.values()
        if len(of) == 2
    ]
    return gather(rows, None, _digest([file]), str(file))


def price(model: str, prompt: str, answer: str) -> float:
    """What an answer costs in US dollars, by characters and `PRICES`."""
    into, out = PRICES[model]
    return (into * len(prompt) + out * len(answer)) / CHARS_PER_TOKEN / 1e6


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
