"""The notebooks as readers take them along, for nbval: each alone in a folder, with the library from its wheel.

Ahead of each solution stands a cell that makes sure that a mistake is caught. ``python tests/alone.py FOLDER``
puts the notebooks into ``FOLDER/notebooks`` and the library into ``FOLDER/site``, for ``PYTHONPATH``.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from repmatch_lib.experiments.fetching import archive, fetch

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# For each solution a mistake: a part of it, and what stands there instead.
MISTAKES = {
    "across_encoders/cell-28": ("np.corrcoef(rankdata(xs), rankdata(ys))", "np.corrcoef(xs, ys)"),
    "across_encoders/cell-30": ("(ys - chance)", "(chance - ys)"),
    "across_encoders/cell-32": ("permutations(range(len(tasks)))", "[range(len(tasks))]"),
    "attention_matrices/cell-18": ("rm.lora_basis(C, rotation @ D)", "rm.lora_basis(C, D)"),
    "attention_matrices/cell-20": ("rm.lora_basis(A, rotation @ B), rm.lora_basis(C, D)", "*[rm.lora_basis(A, B)] * 2"),
    "batches/cell-29": ("2 * rank - 2 * inner", "rank - inner"),
    "batches/cell-31": ("half / 2 *", "half *"),
    "better_selection/cell-28": ("pairwise - nearest[:, None]", "pairwise - 0 * nearest[:, None]"),
    "better_selection/cell-30": ("np.sqrt(2) *", "2 *"),
    "better_selection/cell-32": (".sum() / 2", ".sum()"),
    "cls_baseline/cell-33": ("vectors / vectors.norm(dim=1, keepdim=True)", "2 * vectors"),
    "cls_baseline/cell-35": ("0.9 * (1 + k**2) - k**2", "0.9"),
    "cls_baseline/cell-37": ("/ pairs.pairs)", "/ len(pairs.counts))"),
    "dataset_heatmaps/cell-24": ("rm.repmatch(other, one)", "rm.repmatch(other, other)"),
    "dataset_heatmaps/cell-26": (".double().mean())", ".double().sum())"),
    "embedding_quality/cell-42": ("2 - 2 * mean_of_pairs", "1 - mean_of_pairs"),
    "embedding_quality/cell-44": ("5 * normalize(", "0 * normalize("),
    "embedding_quality/cell-46": ("torch.linalg.qr(drawn)[0]", "drawn"),
    "full_finetuning/cell-19": ("[2:]", "[3:]"),
    "full_finetuning/cell-21": ("rm.lora_basis(A, 10 * B)", "rm.lora_basis(A, torch.roll(B, 1, 1))"),
    "hans_overlap/cell-27": ("rm.word_overlap(hypotheses, premises)", "rm.word_overlap(premises, hypotheses)"),
    "hans_overlap/cell-29": (
        'hans["text"].to_pylist(), hans["text_pair"].to_pylist()',
        'hans["text_pair"].to_pylist(), hans["text"].to_pylist()',
    ),
    "hans_overlap/cell-31": ('- mean_lengths("full")', "- 0 * mean_lengths(group) - (group != 'no') * 1e3"),
    "images/cell-21": ("turned[:, 2])", "turned[:, 3])"),
    "images/cell-23": ("range(1, layers + 1)", "range(1, layers)"),
    "instance_robustness/cell-22": (
        "one, two = (bundled.updates(seed) for seed in seeds[:2])",
        "one = two = bundled.updates(seeds[0])",
    ),
    "instance_robustness/cell-24": ("/ lr", "* lr"),
    "instance_robustness/cell-26": ("- torch.eye(k, dtype=torch.float64)", "+ torch.eye(k, dtype=torch.float64)"),
    "layers/cell-21": ("(same[:, None] > other)", "(same[:, None] < other)"),
    "layers/cell-23": ('["mean"] ** 2', '["mean"] * -1'),
    "other_encoders/cell-10": ("B.shape[-1] == rank", "B.shape[-2] == rank"),
    "other_encoders/cell-12": ("selection.make(progress=False)", "selection.ranking.pool()"),
    "performance/cell-18": ("2 * n)", "3 * n)"),
    "performance/cell-20": ("num_hidden_layers=layers", "num_hidden_layers=2"),
    "rank_and_chance/cell-20": ("* width - 1", "- 1"),
    "rank_and_chance/cell-22": ("table.score >= table.phi_11", "table.phi_11 > table.score"),
    "rank_effect/cell-14": ("replace=False", "replace=True"),
    "rank_effect/cell-16": ("sorted(ranks)", "sorted(ranks, reverse=True)"),
    "seed_robustness/cell-25": ("torch.linalg.inv(Q) @", "Q @"),
    "seed_robustness/cell-27": ("(same_head.score >= same_head.phi_11 - 1e-9)", "(same_head.phi_11 > same_head.score)"),
    "semdedup/cell-33": ("np.triu(", "np.tril("),
    "semdedup/cell-35": ("nearest_kept < 1 - at - 1e-6", "nearest_kept > 1 - at + 1e-6"),
    "semdedup/cell-37": ("inside * (inside - 1) / 2", "inside * (n - 1) / 2"),
    "subset_size/cell-14": ("[:small]", "[-small:]"),
    "subset_size/cell-16": ("[:small]", "[-small:]"),
    "top100_selection/cell-25": ("(0.25 / n)", "(0.5 / n)"),
    "top100_selection/cell-27": ("top = rm.select(ranked, k)", 'top = rm.select(ranked, k, rule="random", draw=0)'),
    "top100_selection/cell-29": ("by_chance = k**2 / len(ranked)", "by_chance = k / len(ranked)"),
    "transfer/cell-30": ("rankdata(per_pair.gain.round(6))", "per_pair.gain"),
    "transfer/cell-32": ("(mean - mean.T)", "(mean + mean.T)"),
    "transfer/cell-34": ("generator.permutation(len(both))", "np.arange(len(both))"),
}

CHECK = """
try:
    exec({mistaken!r}, dict(globals()))
except AssertionError:
    pass
else:
    raise AssertionError({message!r})
"""

GUARD = """
from pathlib import Path
from repmatch_lib.paths import PACKAGE, project_file
assert PACKAGE.is_relative_to({site!r}), PACKAGE
assert project_file("data/mini").is_relative_to({site!r}) and project_file("notebooks").is_relative_to({site!r})
assert {{path.name for path in Path().iterdir()}} <= set({there!r}), sorted(Path().iterdir())
"""


def solutions(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that hold solutions."""
    return [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]


def checked(path: Path) -> nbformat.NotebookNode:
    """A notebook with its checks of mistakes."""
    notebook = nbformat.read(path, 4)
    cells = []
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            part, mistake = MISTAKES[f"{path.stem}/{cell.id}"]
            message = f"{path.stem}/{cell.id}: {mistake!r} in place of {part!r} passes the solution's checks"
            source = CHECK.format(mistaken=cell.source.replace(part, mistake), message=message)
            cells.append(nbformat.v4.new_code_cell(source))
        cells.append(cell)
    notebook.cells = cells
    return notebook


def guard(path: Path, site: Path) -> nbformat.NotebookNode:
    """A last cell: the library was the wheel's, and the notebook left its record and nothing else."""
    return nbformat.v4.new_code_cell(GUARD.format(site=str(site), there=[path.name, f"{path.stem}.json"]))


def install(site: Path) -> None:
    """Put the library where its wheel puts it."""
    wheels = site.parent / "wheel"
    build = ["hatchling", "build", "--target", "wheel", "--directory", wheels]
    subprocess.run([sys.executable, "-m", *build], cwd=ROOT, check=True, capture_output=True)
    put = ["pip", "install", "--quiet", "--no-deps", "--target", site, *wheels.glob("*.whl")]
    subprocess.run([sys.executable, "-m", *put], check=True, capture_output=True)


def fetch_results(folder: Path) -> None:
    """Put the recorded results where the installed library, which has none, looks for them."""
    digest = archive(folder / "recorded.zip")
    fetch(folder / "recorded.zip", digest)


def main(folder: Path) -> None:
    """Install the library and write a copy of every notebook."""
    shutil.rmtree(folder, ignore_errors=True)
    install(folder / "site")
    fetch_results(folder)
    for path in NOTEBOOKS:
        alone = folder / "notebooks" / path.stem
        alone.mkdir(parents=True)
        notebook = checked(path)
        notebook.cells.append(guard(path, folder / "site"))
        nbformat.write(notebook, alone / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
