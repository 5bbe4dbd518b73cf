"""SemDeDup (Abbas et al., 2023): rows that say what another row says, found by an encoder's vectors, and left out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from filelock import FileLock
from torch import Tensor
from tqdm.auto import tqdm

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.embeddings.cosines import directions, row_blocks
from repmatch_lib.instances.scores import GATHERED, Scores, ScoreStore, described
from repmatch_lib.versions import code_version

ROWS_A_CLUSTER = 1000  # at half a million rows, one pass of k-means then costs as much as all the cosines

MANY = 20_000  # rows above which k-means goes by batches

CLUSTERS = "clusters.parquet"

COLUMNS = pa.schema(
    {
        "row": pa.int64(),
        "cluster": pa.int32(),
        "centrality": pa.float64(),
        "neighbour": pa.int64(),
        "similarity": pa.float32(),
    }
)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """For each row its nearest among the rows that come before it; from that, what is kept at any ε.

    Within a cluster the rows come in order of their similarity to its centroid, the least similar first. A row is
    dropped if a row before it is nearer than ε, whether that one is kept or not. So the first of a group of duplicates
    stays, which is the one least like the rest of the cluster.

    Attributes
    ----------
    cluster : ndarray, int32, shape (rows,)
        Numbers from 0.
    centrality : ndarray, float64, shape (rows,)
        Cosine with the cluster's centroid, from -1 to 1.
    neighbour : ndarray, int64, shape (rows,)
        The nearest row before, by number; -1 for the first row of a cluster.
    similarity : ndarray, float32, shape (rows,)
        Cosine with it, from -1 to 1; -1 for the first row of a cluster.
    made_of : dict
        Vectors, clusters and code, where it was kept in a folder.
    """

    cluster: np.ndarray
    centrality: np.ndarray
    neighbour: np.ndarray
    similarity: np.ndarray
    made_of: dict[str, Any]

    def __len__(self) -> int:
        return len(self.cluster)

    @property
    def distance(self) -> np.ndarray:
        """One less the similarity: a row is dropped at every larger ε. Float64, shape (rows,), from 0 to 2."""
        return 1 - self.similarity.astype(np.float64)

    def kept(self, eps: float) -> np.ndarray:
        """Numbers of the rows that stay, rising; equal vectors differ by rounding, so drop them with 1e-5 and not 0.

        Raises
        ------
        ValueError
            If ε is not from 0 to 2.
        """
        if not 0 <= eps <= 2:
            raise ValueError(f"eps = {eps} is no distance between directions: give a number from 0 (keep all) to 2")
        return np.flatnonzero(self.distance >= eps)

    def dropped(self, eps: float) -> np.ndarray:
        """Numbers of the other rows, rising."""
        return np.setdiff1d(np.arange(len(self)), self.kept(eps), assume_unique=True)

    def eps_for(self, share: float) -> float:
        """The largest ε that keeps a share of the rows, rounded to whole rows; more stay where distances are equal.

        Raises
        ------
        ValueError
            If the share is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share = {share} is no share of rows to keep: give a number above 0, at most 1")
        wanted = max(1, round(share * len(self)))
        return float(np.sort(self.distance)[len(self) - wanted])

    def pairs(self, eps: float, data: Corpus | None = None) -> pd.DataFrame:
        """Dropped rows with their neighbours, the most similar first, to read.

        Parameters
        ----------
        eps : float
        data : Corpus, optional
            Whose rows the vectors are of: adds ``text``, ``text_pair`` and ``label`` of both.

        Raises
        ------
        ValueError
            If the corpus has another number of rows.
        """
        if data is not None and len(data) != len(self):
            raise ValueError(f"{data.title} has {len(data)} rows, the vectors {len(self)}: give the corpus they are of")
        rows = self.dropped(eps)
        rows = rows[np.argsort(-self.similarity[rows], kind="stable")]
        table = pd.DataFrame({"similarity": self.similarity[rows], "row": rows, "neighbour": self.neighbour[rows]})
        if data is not None:
            for name in ("text", "text_pair", "label"):
                if name in data.table.column_names:
                    values = data.table[name].to_pandas().to_numpy()
                    table[name], table[f"neighbour's {name}"] = values[rows], values[self.neighbour[rows]]
        return table

    @classmethod
    def load(cls, folder: str | Path) -> Duplicates:
        """Read what a finished `near_duplicates` left in its folder."""
        scores = Scores.load(Path(folder) / GATHERED)
        return _result(scores.table, scores.made_of)


def near_duplicates(
    vectors: Tensor | np.ndarray,
    clusters: int | None = None,
    *,
    seed: int = 0,
    block: int = 2048,
    out: str | Path | None = None,
    progress: bool = True,
) -> Duplicates:
    """Find near-duplicates as SemDeDup does: k-means, then cosines within each cluster.

    A pair across two clusters is not seen: more clusters are quicker and miss more. Memory is that of the vectors, once
    more at length one, and of one block of cosines; never of all pairs.

    Parameters
    ----------
    vectors : Tensor or ndarray, shape (rows, width)
        Such as those of `vectors`; only their directions count.
    clusters : int, optional
        From 1, which compares all pairs, to the number of rows. One for each 1,000 rows, if not given.
    seed : int
        Of k-means.
    block : int
        Rows of a block of cosines: 16 MB each at 2,048.
    out : path, optional
        Keep every cluster's result in this folder; a run that was killed goes on with the missing clusters, and
        several processes may share the work.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Duplicates

    Raises
    ------
    ValueError
        If a vector has no direction, a setting is out of its range, or the folder holds something else.

    References
    ----------
    Abbas, Tirumala, Simig, Ganguli and Morcos: SemDeDup: Data-efficient learning at web-scale through semantic
    deduplication. arXiv 2303.09540, 2023.
    """
    rows = torch.as_tensor(vectors)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"vectors have shape {tuple(rows.shape)}: give one row a vector, (rows, width), and any rows")
    clusters = max(1, round(len(rows) / ROWS_A_CLUSTER)) if clusters is None else clusters
    if not 1 <= clusters <= len(rows):
        raise ValueError(f"clusters = {clusters} for {len(rows)} rows: give a number from 1 to the number of rows")
    if block < 1:
        raise ValueError(f"block = {block}: give a number of rows, at least 1")
    settings: dict[str, Any] = {"clusters": clusters, "seed": seed, "block": block}
    unit, store = _unit(rows), None
    if out is None:
        cluster, centrality = _clustered(unit, clusters, seed)
        numbers: Sequence[int] = range(clusters)
        todo: Iterable[int] = numbers
    else:
        settings |= {"vectors": hashlib.sha256(unit.numpy().data).hexdigest(), "code": code_version(__name__)}
        shape = {"rows": len(unit), "blocks": clusters, "columns": described(COLUMNS)}
        store = ScoreStore(out, settings | shape)
        cluster, centrality = _clustered_once(unit, clusters, seed, store.folder)
        numbers = store.missing()
        todo = store.claim(numbers)
    order = np.lexsort((centrality, cluster))  # stable: rows as near to the centroid stay in their own order
    members = np.split(order, np.searchsorted(cluster[order], np.arange(1, clusters)))
    tables = []
    total = sum(len(members[number]) for number in numbers)
    with tqdm(total=total, desc="duplicates", unit="row", disable=not progress, leave=False) as bar:
        for number in todo:
            table = _cluster_table(unit, number, members[number], centrality, block, bar)
            if store is None:
                tables.append(table)
            else:
                store.put(number, table)
    if store is None:
        return _result(pa.concat_tables(tables).sort_by("row"), settings)
    return _result(store.gather().table, store.made_of)


def _result(table: pa.Table, made_of: dict[str, Any]) -> Duplicates:
    return Duplicates(**{name: table[name].to_numpy() for name in COLUMNS.names[1:]}, made_of=made_of)


def _unit(rows: Tensor) -> Tensor:
    """Rows of length one, block by block: in float64 they take twice the memory."""
    unit = torch.empty(rows.shape, dtype=torch.float32)
    for _, part in row_blocks(len(rows), 1, 4096):
        unit[part] = directions(rows[part], "vectors", first=part.start)
    return unit


def _clustered(unit: Tensor, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row's cluster, and its cosine with the mean of the cluster's rows."""
    cluster = np.zeros(len(unit), np.int32) if clusters == 1 else _k_means(unit.numpy(), clusters, seed)
    index, sums = torch.from_numpy(cluster).long(), torch.zeros(clusters, unit.shape[1], dtype=torch.float64)
    parts = [part for _, part in row_blocks(len(unit), 1, 4096)]
    for part in parts:
        sums.index_add_(0, index[part], unit[part].double())
    centroids = torch.nn.functional.normalize(sums, dim=1)
    centrality = torch.cat([(unit[part] * centroids[index[part]]).sum(1) for part in parts])
    return cluster, centrality.clamp(-1, 1).numpy()


def _clustered_once(unit: Tensor, clusters: int, seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same, from the folder if it is there: with the clusters of another k-means, those done would not fit."""
    names = ("cluster", "centrality")
    with FileLock(folder / ".clusters.lock"):
        if not (folder / CLUSTERS).is_file():
            Scores(pa.table(_clustered(unit, clusters, seed), names), {}).save(folder / CLUSTERS)
    table = Scores.load(folder / CLUSTERS).table
    return tuple(table[name].to_numpy() for name in names)


def _k_means(unit: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Clusters of rows; on as many threads as PyTorch, since sums differ with their number."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    how = {"n_clusters": clusters, "random_state": seed, "n_init": 1}
    many = len(unit) > MANY
    model = MiniBatchKMeans(**how, batch_size=max(4096, 4 * clusters)) if many else KMeans(**how)
    with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters: some stay empty
        return model.fit_predict(unit).astype(np.int32)


def _cluster_table(
    unit: Tensor, number: int, rows: np.ndarray, centrality: np.ndarray, block: int, bar: tqdm
) -> pa.Table:
    """A cluster's rows, given in the method's order, each with the nearest of those before it."""
    similarity, place = _nearest_before(unit, torch.from_numpy(rows), block, bar)
    neighbour = np.append(rows, -1)[place]  # place -1: none
    columns = (rows, np.full(len(rows), number, np.int32), centrality[rows], neighbour, similarity)
    return pa.table(dict(zip(COLUMNS.names, columns, strict=True)), COLUMNS)


def _nearest_before(unit: Tensor, rows: Tensor, block: int, bar: tqdm) -> tuple[np.ndarray, np.ndarray]:
    """For each of the rows the largest cosine with one before it, and the place of that one; -1 where there is none."""
    similarity = torch.full((len(rows),), -2.0)  # below every cosine
    place = torch.full((len(rows),), -1)
    for _, right in row_blocks(len(rows), 1, block):
        for _, left in row_blocks(right.stop, 1, block):
            products = unit[rows[left]] @ unit[rows[right]].T
            if left == right:
                # Neither the row itself nor those after it.
                products.masked_fill_(torch.ones_like(products, dtype=torch.bool).tril(), -2.0)
            best, where = products.max(0)
            nearer = best > similarity[right]
            similarity[right] = torch.where(nearer, best, similarity[right])
            place[right] = torch.where(nearer, where + left.start, place[right])
        bar.update(right.stop - right.start)
    return similarity.clamp(-1, 1).numpy(), place.numpy()
