"""Draw the cover's figure: RepMatch of every pair of data sets in the recorded run.  python book/tools/cover.py"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import repmatch_lib as rm

COVER = Path(__file__).parents[1] / "_static/cover.svg"


def draw(record: rm.Record, cover: Path = COVER) -> None:
    """Draw it; the file says which record is behind it."""
    scores = record.estimates
    tasks = [name for name in record.parameters["task"] if f"{name}|{name}" in scores]
    titles = [rm.task(name).title for name in tasks]
    square = [[(scores.get(f"{a}|{b}") or scores[f"{b}|{a}"]).value for b in tasks] for a in tasks]
    behind = {"Description": f"record {record.digest}", "Date": None}
    rm.matrix(pd.DataFrame(square, titles, titles), cover, metadata=behind)


if __name__ == "__main__":
    draw(rm.recorded("dataset_heatmaps"))
