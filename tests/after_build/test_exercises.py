"""Every exercise's solution holds, and a wrong one fails its checks."""

import ast
import os
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import pytest

from repmatch_lib import runner

ROOT = Path(__file__).parents[2]
STORE = os.environ.get("REPMATCH_STORE", str(ROOT / ".store"))  # the build's: other tests have an empty one each
NOTEBOOKS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if "solution" in path.read_text()]

# For each solution a mistake: a part of it, and what stands there instead.
MISTAKES = {
    "attention_matrices/cell-18": ("rm.lora_basis(C, rotation @ D)", "rm.lora_basis(C, D)"),
    "attention_matrices/cell-20": ("rm.lora_basis(A, rotation @ B), rm.lora_basis(C, D)", "*[rm.lora_basis(A, B)] * 2"),
    "cls_baseline/cell-33": ("vectors / vectors.norm(dim=1, keepdim=True)", "2 * vectors"),
    "cls_baseline/cell-35": ("0.9 * (1 + k**2) - k**2", "0.9"),
    "cls_baseline/cell-37": ("/ found.pairs)", "/ len(found.counts))"),
    "dataset_heatmaps/cell-24": ("rm.repmatch(other, one)", "rm.repmatch(other, other)"),
    "dataset_heatmaps/cell-26": (".double().mean())", ".double().sum())"),
    "embedding_quality/cell-42": ("2 - 2 * mean_of_pairs", "1 - mean_of_pairs"),
    "embedding_quality/cell-44": ("5 * normalize(", "0 * normalize("),
    "embedding_quality/cell-46": ("torch.linalg.qr(drawn)[0]", "drawn"),
    "hans_overlap/cell-27": ("rm.word_overlap(hypotheses, premises)", "rm.word_overlap(premises, hypotheses)"),
    "hans_overlap/cell-29": (
        'hans["text"].to_pylist(), hans["text_pair"].to_pylist()',
        'hans["text_pair"].to_pylist(), hans["text"].to_pylist()',
    ),
    "hans_overlap/cell-31": ('- mean_lengths("full")', "- 0 * mean_lengths(group) - (group != 'no') * 1e3"),
    "instance_robustness/cell-22": ("one, two = updates[1, False][:2]", "one = two = updates[1, False][0]"),
    "instance_robustness/cell-24": ("/ lr", "* lr"),
    "instance_robustness/cell-26": ("- torch.eye(k, dtype=torch.float64)", "+ torch.eye(k, dtype=torch.float64)"),
    "other_encoders/cell-10": ("B.shape[-1] == rank", "B.shape[-2] == rank"),
    "other_encoders/cell-12": ("selection.make(progress=False)", "selection.ranking.pool()"),
    "performance/cell-18": ("2 * n)", "3 * n)"),
    "performance/cell-20": ("num_hidden_layers=layers", "num_hidden_layers=1"),
    "rank_effect/cell-14": ("replace=False", "replace=True"),
    "rank_effect/cell-16": ("sorted(ranks)", "sorted(ranks, reverse=True)"),
    "seed_robustness/cell-25": ("torch.linalg.inv(Q) @", "Q @"),
    "seed_robustness/cell-27": ("(both.score >= both.phi_11 - 1e-9)", "(both.phi_11 > both.score)"),
    "subset_size/cell-14": ('[large, "top"]', '[large, "random"]'),
    "subset_size/cell-16": ('[large, "random"]', '[large, "top"]'),
    "top100_selection/cell-25": ("(0.25 / n)", "(0.5 / n)"),
    "top100_selection/cell-27": ("top = rm.select(ranked, k)", 'top = rm.select(ranked, k, rule="random", draw=0)'),
    "top100_selection/cell-29": ("by_chance = k**2 / len(ranked)", "by_chance = k / len(ranked)"),
}


def solutions(notebook: Path) -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(notebook, 4).cells if "solution" in c.metadata.get("tags", [])]


def test_every_solution_has_a_check_and_a_known_mistake() -> None:
    found = {f"{path.stem}/{cell.id}": cell.source for path in NOTEBOOKS for cell in solutions(path)}
    assert found.keys() == MISTAKES.keys()
    for address, source in found.items():
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source))), address
        assert source.count(MISTAKES[address][0]) == 1, address


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_solutions_hold_and_mistakes_do_not(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Cells run in this process: a kernel for each notebook would load PyTorch ten times.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPMATCH_STORE", STORE)
    matplotlib.use("agg")
    names: dict[str, Any] = {"__name__": "__main__", "display": lambda *shown: None}
    values = runner.settings(notebook, "mini")
    if "record" in values:
        values["record"] = str(tmp_path / "record.json")
    for cell in nbformat.read(notebook, 4).cells:
        if cell.cell_type != "code":
            continue
        if "solution" in cell.metadata.get("tags", []):
            part, mistake = MISTAKES[f"{notebook.stem}/{cell.id}"]
            with pytest.raises(AssertionError):
                exec(cell.source.replace(part, mistake), dict(names))
        exec(cell.source, names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= values
    matplotlib.pyplot.close("all")
