"""Two data sets to one comparison: an adapter on each, with everything shared that must be.

The book's ten-minute page begins with it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from repmatch_lib.data.corpora import SourceName, load
from repmatch_lib.data.tasks import Task, task as find_task
from repmatch_lib.similarity.comparison import Comparison, repmatch
from repmatch_lib.training.encoder_variants import encoder as find_encoder
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.lora import train_adapter

SHOWN = 12  # labels of a file in a message


def train_pair(
    first: Task | str | Path,
    second: Task | str | Path,
    encoder: Encoder | str = "minilm",
    *,
    rows: int | None = None,
    source: SourceName = "auto",
    seeds: tuple[int, int] = (0, 1),
    same_labels: bool = True,
    folder: str | Path | None = None,
    lr: float = 1e-3,
    epochs: int = 5,
    **settings: Any,
) -> Comparison:
    """Train one encoder on each of two data sets, under one frozen head, and compare the updates.

    Parameters
    ----------
    first, second : Task, or a task's name, or a file
        See `Task.from_file` for files whose columns are not called ``text`` and ``label``. The same data twice give
        what two training seeds leave of a perfect score.
    encoder : Encoder or str
    rows : int, optional
        So many rows of each, drawn at random; all if not given.
    source : {"mini", "local", "hub", "auto"}
        Of tasks that are not files; see `load`.
    seeds : (int, int)
        Training seeds. If they are equal, the two runs share their start.
    same_labels : bool
        Row k of the head is one class for both: a label stands for the same row in both data sets, and classes that
        only one of the two has are refused unless it has all of the other's. If false, class k of the one shares its
        row with class k of the other, whatever they are called.
    folder : path, optional
        Keep the two adapters here, in ``first`` and ``second``, as PEFT reads them.
    lr, epochs : float, int
    **settings
        ``rank``, ``head_seed``, ``batch_size``, ``max_length``, ``device`` and so on, the same for both; see
        `train_adapter`.

    Returns
    -------
    Comparison

    Raises
    ------
    FileNotFoundError, ValueError
        What `load`, `train_adapter` and `repmatch` refuse, and classes that do not fit.
    """
    tasks = [given if isinstance(given, Task) else find_task(given) for given in (first, second)]
    if same_labels:
        tasks = with_shared_labels(*tasks)
    data = [load(task, source=source, rows=rows) for task in tasks]
    encoder = encoder if isinstance(encoder, Encoder) else find_encoder(encoder)
    adapters = []
    for corpus, seed, name in zip(data, seeds, ("first", "second"), strict=True):
        adapters.append(train_adapter(encoder, corpus, seed=seed, lr=lr, epochs=epochs, **settings))
        if folder is not None:
            adapters[-1].save(Path(folder) / name)
    return repmatch(adapters[0], adapters[1])


def with_shared_labels(first: Task, second: Task) -> list[Task]:
    """Two tasks whose classes of one name are one row of the head.

    Raises
    ------
    ValueError
        If each has a class that the other lacks.
    """
    few, many = sorted((set(first.labels), set(second.labels)), key=len)
    if not few <= many:
        listed = " and ".join(f"{task.title} has {_listed(task.labels)}" for task in (first, second))
        raise ValueError(
            f"the labels differ: {listed}. Spell those that mean the same alike; if they mean different things, say "
            "same_labels=False (--no-same-labels): class k of one and class k of the other then share row k of the head"
        )
    labels = max(first.labels, second.labels, key=len)
    return [replace(task, labels=labels, file_labels=task.file_labels or task.labels) for task in (first, second)]


def _listed(labels: tuple[str, ...]) -> str:
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return (", ".join(map(repr, labels[:SHOWN])) or "none") + more
