"""Scores of instances on disk, block by block: stopped at any moment, continued by any number of processes.

The book's page on running at scale goes through processes and clusters.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from repmatch_lib.store import whole, write_atomically

SEVERAL = "target_"  # before the columns of each target, where there are several
BRIEF = ("loss", "score", "repmatch")  # what is known of a row beside its layers; the last of them by cosine only
META, GATHERED = "scores.json", "scores.parquet"


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """Scores of a corpus' instances, one row each, in the corpus' order.

    Attributes
    ----------
    table : pyarrow.Table
        ``id``, ``label``, ``loss`` (before the first step), one column a layer, and ``score``, their mean. Layers are
        ``layer_0`` and on; with several matrices compared, ``value_layer_0`` and on.
    made_of : dict
        Model, target, data and settings.
    """

    table: pa.Table
    made_of: dict[str, Any]

    def __len__(self) -> int:
        return len(self.table)

    def to_pandas(self) -> pd.DataFrame:
        """The table as a data frame."""
        return self.table.to_pandas()

    @property
    def layers(self) -> list[str]:
        """The columns that ``score`` is the mean of."""
        return [name for name in self.table.column_names if name not in ("id", "label", *BRIEF)]

    def brief(self) -> Scores:
        """What a ranking needs, at a tenth of the size: without single layers, in single precision."""
        table = self.table.drop_columns(self.layers)
        for at, name in enumerate(table.column_names):
            if name in BRIEF:
                table = table.set_column(at, name, table[name].cast(pa.float32()))
        return Scores(table, self.made_of)

    def of_each_target(self) -> list[Scores]:
        """Scores against several targets as those against each."""
        digests = self.made_of["target"]
        if isinstance(digests, str):
            return [self]
        shared = [name for name in self.table.column_names if not name.startswith(SEVERAL)]
        parts = []
        for k, digest in enumerate(digests):
            own = [name for name in self.table.column_names if name.startswith(of_target(k, ""))]
            table = self.table.select([*shared, *own])
            table = table.rename_columns([*shared, *(name.removeprefix(of_target(k, "")) for name in own)])
            columns = [*self.made_of["columns"][:1], *described(table.schema)]
            parts.append(Scores(table, self.made_of | {"target": digest, "columns": columns}))
        return parts

    def save(self, path: str | Path) -> Path:
        """Write one Parquet file, whole or not at all, that says what it was made of."""
        path = Path(path)
        made_of = json.dumps(self.made_of, sort_keys=True)
        metadata = {"repmatch": made_of, "sha256": _digest(self.table, made_of)}
        _write(self.table.replace_schema_metadata(metadata), path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read what `save` or ``repmatch gather`` wrote.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        try:
            table = _read(path)
            metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if getattr(error, "errno", None) or isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{path} is damaged ({error}): gather or copy the scores again") from error
        made_of = metadata.get("repmatch", "{}")
        if metadata and metadata.get("sha256", digest := _digest(table, made_of)) != digest:
            raise ValueError(f"{path} is damaged (other values than were written): gather or copy the scores again")
        return cls(table.replace_schema_metadata(), json.loads(made_of))


class ScoreStore:
    """A folder of scored blocks.

    A block is a fixed set of rows, so a block's file is the same whoever computes it, and whenever. It is computed
    under a lock that dies with its process, and appears in one step; what is cut short or damaged is found by the
    checksums of its pages and computed again.

    Parameters
    ----------
    folder : path
    made_of : dict
        Everything that the scores depend on. ``blocks`` and ``rows`` are among it.

    Raises
    ------
    ValueError
        If the folder holds scores of another model, target, data or setting.
    """

    def __init__(self, folder: str | Path, made_of: dict[str, Any]) -> None:
        self.folder, self.made_of = Path(folder), json.loads(json.dumps(made_of))
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".scores.lock"):
            if (self.folder / META).is_file():
                self._refuse_changes(_meta(self.folder))
            else:
                write_atomically(self.folder / META, json.dumps(self.made_of, indent=1, sort_keys=True) + "\n")

    @classmethod
    def open(cls, folder: str | Path) -> ScoreStore:
        """A folder of scores as it is.

        Raises
        ------
        FileNotFoundError
            If it holds none.
        """
        if not (Path(folder) / META).is_file():
            raise FileNotFoundError(f"{folder} holds no {META}: give a folder that 'repmatch score --out' wrote")
        return cls(folder, _meta(Path(folder)))

    def claim(self, blocks: Iterable[int]) -> Iterator[int]:
        """Blocks that are not done, each held until the next is asked for; those that others hold come last."""
        held_by_others = []
        for block in blocks:
            try:
                with FileLock(self._lock(block), blocking=False):
                    if not self._swept(block):
                        yield block
            except Timeout:
                held_by_others.append(block)
        for block in held_by_others:
            with FileLock(self._lock(block)):
                if not self._swept(block):
                    yield block

    def put(self, block: int, table: pa.Table) -> None:
        """Write a block, whole or not at all."""
        _write(table, self._file(block))

    def done(self, block: int) -> bool:
        """Whether a block is there and sound; a damaged one is removed."""
        if not self._file(block).is_file():
            return False
        try:
            table = _read(self._file(block))
            if described(table.schema) != self.made_of["columns"]:
                raise pa.ArrowInvalid(f"its columns are {table.column_names}")
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            if getattr(error, "errno", None):  # the file may be sound: it could not be opened
                raise
            log.warning("%s is damaged (%s) and will be computed again", self._file(block).name, error)
            self._file(block).unlink(missing_ok=True)
            return False
        return True

    def missing(self) -> list[int]:
        """Blocks that are not done."""
        return [block for block in range(self.made_of["blocks"]) if not self.done(block)]

    def gather(self) -> Scores:
        """All blocks as one table in the data's order; also written as ``scores.parquet``.

        Raises
        ------
        ValueError
            If blocks are missing, or rows are lacking or there twice.
        """
        if missing := self.missing():
            raise ValueError(
                f"{self.folder} lacks {len(missing)} of {self.made_of['blocks']} blocks (the first is {missing[0]}): "
                "run 'repmatch score' with the same options again, it does what is missing"
            )
        files = [self._file(block) for block in range(self.made_of["blocks"])]
        table = pa.concat_tables([pq.read_table(file, page_checksum_verification=True) for file in files]).sort_by(
            "row"
        )
        if table["row"].to_pylist() != list(range(self.made_of["rows"])):
            raise ValueError(f"{self.folder} does not hold each row once; delete it and score again")
        scores = Scores(table.drop_columns("row"), self.made_of)
        scores.save(self.folder / GATHERED)
        return scores

    def _swept(self, block: int) -> bool:
        """Whether a block that is ours alone is done; what a killed process left of it is removed."""
        for left in self.folder.glob(f".{self._file(block).name}-*"):
            left.unlink()
        return self.done(block)

    def _refuse_changes(self, there: dict[str, Any]) -> None:
        changed = [name for name in self.made_of.keys() | there.keys() if self.made_of.get(name) != there.get(name)]
        if changed:
            clauses = [f"{name} was {there.get(name)!r}, now {self.made_of.get(name)!r}" for name in sorted(changed)]
            raise ValueError(
                f"{self.folder} holds scores of something else: {'; '.join(clauses)}. Give another folder, or delete it"
            )

    def _file(self, block: int) -> Path:
        return self.folder / f"block-{block:05d}.parquet"

    def _lock(self, block: int) -> Path:
        return self.folder / f".block-{block:05d}.lock"


def of_target(k: int, column: str) -> str:
    """The name of a column of the k-th of several targets."""
    return f"{SEVERAL}{k}_{column}"


def described(columns: pa.Schema) -> list[str]:
    """Names and types of columns, as a store's ``columns`` holds them."""
    return [f"{field.name}: {field.type}" for field in columns]


def _meta(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / META).read_text())
        if not {"rows", "blocks", "columns"} <= set(content):
            raise ValueError("it lacks the number of rows or blocks, or the columns")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / META} is damaged ({error}); delete the folder and score again") from error
    return content


def _digest(table: pa.Table, made_of: str) -> str:
    """Of names, types and values, whatever file they are in."""
    digest = hashlib.sha256(made_of.encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}: {column.type}".encode())
        numeric = pa.types.is_primitive(column.type) and not column.null_count
        digest.update(column.to_numpy().tobytes() if numeric else json.dumps(column.to_pylist(), default=str).encode())
    return digest.hexdigest()


def _read(file: str | Path) -> pa.Table:
    """A table whose pages are what was written."""
    return pq.read_table(file, page_checksum_verification=True)


def _write(table: pa.Table, path: Path) -> None:
    with whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
