"""Write the bundled miniature corpora: ``python data/mini/build.py``.

Each task's generator in ``sources/`` is an endless stream of rows drawn from hand-written sentences, frames and
lexicons. This script keeps the first distinct ones and cuts them into splits; same seed, same rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sources import inference, pairs, sentiment, squad

SEED = 20241009
HERE = Path(__file__).parent
TASKS = {  # task: (generator, the columns that tell rows apart, rows to train on, rows to validate on)
    "sst2": (sentiment.sst2, ["text"], 2400, 400),
    "sst5": (sentiment.sst5, ["text"], 2400, 400),
    "imdb": (sentiment.imdb, ["text"], 2000, 400),
    "snli": (inference.snli, ["premise", "hypothesis"], 2400, 400),
    "mnli": (inference.mnli, ["premise", "hypothesis"], 2400, 400),
    "hans": (inference.hans, ["premise", "hypothesis"], 2400, 400),
    "stsb": (pairs.stsb, ["sentence1", "sentence2"], 2000, 400),
    "squad": (squad.squad, ["context", "question"], 2000, 400),
}


def distinct(rows: Iterator[dict], columns: list[str]) -> Iterator[dict]:
    """Leave out every row whose text, case and spacing folded, was seen before."""
    seen = set()
    for row in rows:
        text = tuple(" ".join(row[column].casefold().split()) for column in columns)
        if text not in seen:
            seen.add(text)
            yield row


def generate(task: str) -> dict[str, pa.Table]:
    """The splits of a task, the same rows on every call."""
    generator, columns, train, validation = TASKS[task]
    rows = list(islice(distinct(generator(random.Random(f"{SEED}-{task}")), columns), train + validation))
    return {"train": pa.Table.from_pylist(rows[:train]), "validation": pa.Table.from_pylist(rows[train:])}


if __name__ == "__main__":
    for task in TASKS:
        (HERE / task).mkdir(exist_ok=True)
        for split, table in generate(task).items():
            pq.write_table(table, HERE / task / f"{split}.parquet", compression="zstd")
