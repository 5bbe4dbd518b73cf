"""The eight tasks of the paper as data, a variant of one, and a user's own.

The book's page on your own data makes one of a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Kind = Literal["classification", "regression", "span"]


METRICS = {"classification": "accuracy", "regression": "spearman", "span": "f1"}


@dataclass(frozen=True)
class Task:
    """What a data set asks of a model.

    Attributes
    ----------
    text : tuple of str
        One or two text columns.
    label : str
        The label column; for a span, the column of answer texts (its offsets in ``answer_start``).
    labels : tuple of str
        Names of the classes, in the order of the head's rows; empty for regression and spans.
    file_labels : tuple of str
        What the numbers in the file stand for, where that is not the order of the head's rows. Rows whose class is
        named "" are left out.
    cut : float or None
        Two classes made of a column of scores: up to here, and above.
    epochs : int
        The paper's number of epochs (section 5.1).
    splits : dict
        Where a split goes by another name in the published files.
    hub : tuple of (repository, revision, path pattern)
        ``{split}`` in the pattern is the split's name there. Empty for a task without a hub repository.
    hub_columns : dict
        Hub column: our column.
    folder : str
        Of its files, where that is not its name.
    file : Path or None
        A user's own file.
    """

    name: str
    title: str
    kind: Kind
    text: tuple[str, ...]
    label: str
    labels: tuple[str, ...] = ()
    file_labels: tuple[str, ...] = ()
    cut: float | None = None
    metric: str = "accuracy"
    epochs: int = 5
    splits: dict[str, str] = field(default_factory=dict, hash=False)
    hub: tuple[str, str, str] | tuple[()] = ()
    hub_columns: dict[str, str] = field(default_factory=dict, hash=False)
    folder: str = ""
    file: Path | None = None

    @property
    def one_file(self) -> bool:
        """Whether training and development rows come from one file."""
        return bool(self.file) or self.splits.get("train", "train") == self.splits.get("validation", "validation")

    @property
    def outputs(self) -> int:
        """Rows of the head."""
        return {"classification": len(self.labels), "regression": 1, "span": 2}[self.kind]

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        text: str | tuple[str, ...] = "text",
        label: str = "label",
        labels: tuple[str, ...] | None = None,
        kind: Kind = "classification",
        name: str | None = None,
    ) -> Task:
        """A task of your own, from a CSV, JSONL or Parquet file.

        Parameters
        ----------
        path : str or Path
        text : str or pair of str
            Its text column, or two.
        label : str
            Its label column. A span task also needs ``answer_start``.
        labels : tuple of str, optional
            The classes in the order of the head's rows; read from the file, sorted, if not given. Labels are taken as
            they are written, 01 is not 1, but for blanks around them; where a Parquet file names its classes, by
            these names. -1 and - then stand for no label, and such rows are left out, unless they are given here.
            Give the same order to every task you compare: row k of the head is one class for all of them.

        Raises
        ------
        ValueError
            If the file is missing, its format unknown, a column is not there or given twice, or ``kind``, ``text`` or
            ``labels`` is none of these.
        """
        from repmatch_lib.data.files import read_table, require
        from repmatch_lib.data.labels import classes, label_texts

        path = Path(path)
        columns = (text,) if isinstance(text, str) else tuple(text)
        if kind not in METRICS or not 0 < len(columns) <= 2 or (kind == "span" and len(columns) == 1):
            raise ValueError(
                f"kind = {kind!r}, text = {columns}: give one of {', '.join(METRICS)}, and one or two columns; a span "
                "needs two, the question and its context"
            )
        if len({*columns, label}) < len(columns) + 1:
            raise ValueError(f"text = {columns}, label = {label!r}: a column is given twice; give different ones")
        table = read_table(path, (*columns, label) if kind == "classification" else columns)
        require(table, [*columns, label], path)
        if kind == "classification" and labels is None:
            labels = classes(label_texts(table, label, path))
        name, labels = name or path.name.partition(".")[0] or path.name, tuple(map(str, labels or ()))
        if len(set(labels)) < len(labels):
            raise ValueError(f"labels = {labels}: a class is given twice; a row of the head is one class")
        return cls(name, name, kind, columns, label, labels, metric=METRICS[kind], file=path.resolve())


GLUE = ("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c")


SENTIMENT = ("negative", "positive")


FIVE = ("very negative", "negative", "neutral", "positive", "very positive")


ENTAILMENT = ("entailment", "neutral", "contradiction")


PAIR = ("premise", "hypothesis")


TASKS = {
    task.name: task
    for task in (
        Task(
            "sst2", "SST-2", "classification", ("text",), "label", SENTIMENT, epochs=10,
            hub=(*GLUE, "sst2/{split}-00000-of-00001.parquet"), hub_columns={"sentence": "text"},
        ),
        Task(
            "sst5", "SST-5", "classification", ("text",), "label", FIVE, epochs=10,
            hub=("SetFit/sst5", "refs/convert/parquet", "default/{split}/0000.parquet"),
        ),
        Task(
            "imdb", "IMDB", "classification", ("text",), "label", SENTIMENT, epochs=10,
            splits={"validation": "test"},
            hub=(
                "stanfordnlp/imdb", "e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
                "plain_text/{split}-00000-of-00001.parquet",
            ),
        ),
        Task(
            "snli", "SNLI", "classification", PAIR, "label", ENTAILMENT,
            hub=(
                "stanfordnlp/snli", "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b",
                "plain_text/{split}-00000-of-00001.parquet",
            ),
        ),
        Task(
            "mnli", "MNLI", "classification", PAIR, "label", ENTAILMENT,
            splits={"validation": "validation_matched"}, hub=(*GLUE, "mnli/{split}-00000-of-00001.parquet"),
        ),
        # HANS is one set of 30,000 pairs, published as an evaluation set; "all of HANS" is that set.
        Task(
            "hans", "HANS", "classification", PAIR, "label", ("entailment", "non-entailment"),
            splits={"train": "validation"},
            hub=("jhu-cogsci/hans", "refs/convert/parquet", "plain_text/{split}/0000.parquet"),
        ),
        Task(
            "stsb", "STS-B", "regression", ("sentence1", "sentence2"), "score", metric="spearman",
            hub=(*GLUE, "stsb/{split}-00000-of-00001.parquet"), hub_columns={"label": "score"},
        ),
        Task(
            "squad", "SQuAD", "span", ("question", "context"), "answer_text", metric="f1",
            hub=(
                "rajpurkar/squad", "7b6d24c440a36b6815f21b70d25016731768db1f",
                "plain_text/{split}-00000-of-00001.parquet",
            ),
        ),
    )
}  # fmt: skip


# SST-5 under the same head, with its two ends on the rows that SST-2 and IMDB use for negative and positive.
TASKS["sst5-ends"] = replace(
    TASKS["sst5"], name="sst5-ends", title="SST-5, ends first", folder="sst5", file_labels=FIVE,
    labels=("very negative", "very positive", "negative", "neutral", "positive"),
)  # fmt: skip


# SST-5 with the two classes of SST-2 and IMDB, and without what is neither.
TASKS["sst5-two"] = replace(
    TASKS["sst5"], name="sst5-two", title="SST-5, two classes", folder="sst5", labels=SENTIMENT,
    file_labels=("negative", "negative", "", "positive", "positive"),
)  # fmt: skip


# STS-B's scores, 0 to 5, in two classes. In the middle of the scale, 41 % of the training set are low; at 2.8, 48 %.
for _name, _title, _cut in (("stsb-two", "STS-B, two classes", 2.5), ("stsb-even", "STS-B, two even classes", 2.8)):
    TASKS[_name] = replace(
        TASKS["stsb"], name=_name, title=_title, folder="stsb", kind="classification", metric="accuracy", cut=_cut,
        labels=("low", "high"),
    )  # fmt: skip


def task(name: str | Path) -> Task:
    """One of the paper's tasks by name, or your own by its file, with the columns ``text`` and ``label``.

    Raises
    ------
    ValueError
        If there is neither a task nor a file of that name.
    """
    if name in TASKS:
        return TASKS[name]
    from repmatch_lib.data.files import is_file_of_rows

    if is_file_of_rows(Path(name)):
        return Task.from_file(name)
    raise ValueError(
        f"unknown task {str(name)!r}: give one of {', '.join(TASKS)}, or a CSV, JSONL or Parquet file with the "
        "columns text and label (Task.from_file takes other columns)"
    )
