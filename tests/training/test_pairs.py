"""Two data sets to a comparison, through the library and the command."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torch
from helpers import Command

import repmatch_lib as rm
from repmatch_lib.training import pairs
from repmatch_lib.training.pairs import with_shared_labels

FIVE = ("awful", "bad", "fair", "good", "superb")
TEXTS = ('weak, "thin" jokes', "糟糕透了", "😐 average", "很好看, really", 'a "masterpiece" 🤩')
QUICK = {"epochs": 1, "rank": 2, "max_length": 16, "precision": "float32"}


def rows_of(path: Path, text: str, label: str, labels: tuple[str, ...] = FIVE, n: int = 15) -> Path:
    """A CSV file with commas, quotes, line breaks, Chinese and emoji in its texts."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([text, "day", label])
        writer.writerows([f"{TEXTS[k % 5]}\n{path.stem} {k}", "2026-01-01", labels[k % len(labels)]] for k in range(n))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[rm.Task, rm.Task]:
    films = rows_of(tmp_path / "films.csv", "comment", "stars")
    books = rows_of(tmp_path / "books.csv", "what they wrote", "verdict", FIVE[1:])
    return rm.Task.from_file(films, "comment", "stars"), rm.Task.from_file(books, "what they wrote", "verdict")


def test_a_pair_is_two_adapters_under_one_head(tmp_path: Path, pair: tuple[rm.Task, rm.Task]) -> None:
    encoder = rm.encoder("minilm")
    found = rm.train_pair(*pair, encoder, folder=tmp_path / "kept", **QUICK)
    shared = rm.Task.from_file(pair[1].file, "what they wrote", "verdict", labels=FIVE)
    alone = [
        rm.train_adapter(encoder, rm.load(task), seed=seed, lr=1e-3, head_seed=0, **QUICK)
        for task, seed in ((pair[0], 0), (shared, 1))
    ]
    assert torch.equal(found.grid, rm.repmatch(*alone).grid)
    kept = [tmp_path / "kept" / name for name in ("first", "second")]
    assert torch.equal(rm.repmatch(*kept).grid, found.grid)


def test_a_label_is_one_row_of_the_head_in_both(pair: tuple[rm.Task, rm.Task]) -> None:
    films, books = (rm.load(task) for task in with_shared_labels(*pair))
    assert films.task.labels == books.task.labels == FIVE
    assert [FIVE[k] for k in books.table["label"].to_pylist()] == [FIVE[1:][k % 4] for k in range(15)]


def test_numbers_in_a_file_keep_their_meaning_under_more_classes(tmp_path: Path) -> None:
    own = rows_of(tmp_path / "own.csv", "text", "label", ("negative", "neutral", "positive"))
    sst2, mine = with_shared_labels(rm.task("sst2"), rm.task(own))
    before, after = (rm.load(task, source="mini") for task in (rm.task("sst2"), sst2))
    names = [[c.task.labels[k] for k in c.table["label"].to_pylist()] for c in (before, after)]
    assert names[0] == names[1] and mine.labels == sst2.labels == ("negative", "neutral", "positive")


def test_a_cut_score_keeps_its_meaning_in_another_order_of_classes(tmp_path: Path) -> None:
    own = rm.task(rows_of(tmp_path / "own.csv", "text", "label", ("high", "low")))
    for tasks in ((own, rm.task("stsb-two")), (rm.task("stsb-two"), own)):
        shared = {task.name: task for task in with_shared_labels(*tasks)}["stsb-two"]
        assert shared.labels == tasks[0].labels
        table = rm.load(shared, source="mini").table
        scores = rm.load(rm.task("stsb"), source="mini").table["label"].to_pylist()
        high = [score > 2.5 for score in scores]
        assert [shared.labels[k] == "high" for k in table["label"].to_pylist()] == high and 0 < sum(high) < len(high)


def test_an_adapter_is_kept_as_soon_as_it_is_trained(
    tmp_path: Path, pair: tuple[rm.Task, rm.Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = pairs.train_adapter

    def stopped(encoder: rm.Encoder, data: rm.Corpus, **settings: object) -> rm.Adapter:
        if data.title == "books":
            raise KeyboardInterrupt
        return train(encoder, data, **settings)

    monkeypatch.setattr(pairs, "train_adapter", stopped)
    with pytest.raises(KeyboardInterrupt):
        rm.train_pair(*pair, folder=tmp_path / "kept", **QUICK)
    assert rm.Adapter.load(tmp_path / "kept" / "first").name == "films (seed 0)"


def test_labels_that_differ_are_refused_with_the_mend(tmp_path: Path) -> None:
    tasks = [
        rm.Task.from_file(rows_of(tmp_path / f"{name}.csv", "text", "label", labels))
        for name, labels in (("films", FIVE), ("news", ("sport", "trade")))
    ]
    with pytest.raises(ValueError, match=r"films has 'awful', .* and news has 'sport', 'trade'.*same_labels=False"):
        rm.train_pair(*tasks)
    assert rm.train_pair(*tasks, same_labels=False, **QUICK).names == ("films (seed 0)", "news (seed 1)")


NAMED = ("--text", "comment", "--text", "what they wrote", "--label", "stars", "--label", "verdict")


def test_the_command_takes_other_columns_and_draws(
    tmp_path: Path, pair: tuple[rm.Task, rm.Task], monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    options = (*NAMED, "--epochs", "1", "--max-length", "16", "--plot", "heat.png", "--out", "kept")
    code, printed, _ = command("data", "films.csv", "books.csv", *options)
    (shown,) = re.findall(r"mean\s*│\s*([\d.]+)", printed)
    assert code == 0
    assert shown == f"{rm.repmatch('kept/first', 'kept/second').score:.3f}"
    assert Path("heat.png").read_bytes().startswith(b"\x89PNG")


WRONG = {
    "a column that is not there": (
        ("--text", "review"),
        "no column 'review'; it has 'comment', 'day', 'stars'.*--text",
    ),
    "a plot of no format": (("--plot", "heat.xyz"), "--plot heat.xyz: give a file that ends in .png, .svg, .pdf"),
    "a plot in no folder": (
        ("--plot", "none/heat.png"),
        "--plot none/heat.png: there is no folder none; make it first",
    ),
    "no source": (
        ("--text", "comment", "--label", "stars", "--source", "web"),
        "unknown source 'web': give 'mini', 'local', 'hub' or 'auto'",
    ),
    "a column for a third file": (("--text", "a") * 3, "--text was given 3 times; give it once, or once for each"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_command_refuses_with_one_message(
    wrong: str,
    tmp_path: Path,
    pair: tuple[rm.Task, rm.Task],
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    monkeypatch.chdir(tmp_path)
    options, message = WRONG[wrong]
    code, _, errors = command("data", "films.csv", "films.csv", *options)
    assert code == 2 and re.search(message, errors.replace("\n", " "))


def test_places_are_checked_before_the_training(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(pairs, "train_pair", refuse)
    file = tmp_path / "own.csv"
    file.write_text("text,label\na,0\nb,1\n")
    (tmp_path / "folder.png").mkdir()
    for option, place, sentence in (
        ("--plot", tmp_path / "folder.png", "is a folder: give a file"),
        ("--plot", tmp_path / "no/a.png", "there is no folder"),
        ("--plot", tmp_path / "a.txt", "give a file that ends in"),
        ("--out", file, "is a file: give a folder"),
    ):
        code, _, text = command("data", str(file), str(file), option, str(place))
        assert code == 2 and sentence in text.replace("\n", " ")
