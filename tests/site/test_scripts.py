"""The pages' JavaScript against the Python library, run by Node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT
from scipy.linalg import subspace_angles
from scipy.spatial.transform import Rotation

import repmatch_lib as rm

STATIC = ROOT / "book/_static"
pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed: the scripts are not tested")


def node(script: str, given: Any) -> Any:
    """What the script's ``answer`` is, with ``given`` at hand and the pages' scripts as modules."""
    code = f"const given = JSON.parse(require('fs').readFileSync(0)); {script}; console.log(JSON.stringify(answer))"
    done = subprocess.run(["node", "-e", code], input=json.dumps(given), capture_output=True, text=True, cwd=STATIC)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def turned(position: dict[str, float], dimension: int) -> np.ndarray:
    angles = [position[name] for name in ("turn", "tilt", "spin")]
    return Rotation.from_euler("ZXZ", angles, degrees=True).as_matrix()[:, :dimension]


def positions() -> list[dict[str, float]]:
    """Random ones, and those where angles are 0 or 90 degrees."""
    random = np.random.default_rng(0).uniform(-180, 180, (60, 3)).tolist()
    right = [[a, b, c] for a in (0, 90, -180) for b in (0, 90) for c in (0, 45, 90)]
    return [dict(zip(("turn", "tilt", "spin"), angles, strict=True)) for angles in random + right]


@pytest.mark.parametrize(("r", "s"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_the_playground_s_measure_is_the_library_s(r: int, s: int) -> None:
    script = """
        const S = require("./subspaces.js");
        const answer = given.positions.map((at) => {
            const [U, V] = [S.rotated(given.first, given.r), S.rotated(at, given.s)];
            const grid = S.similarity(U, V);
            return { U, V, grid, cosines: S.principalCosines(U, V), largest: S.largest(grid) };
        })"""
    first = {"turn": 20, "tilt": 70, "spin": -50}
    answers = node(script, {"positions": positions(), "first": first, "r": r, "s": s})
    for at, found in zip(positions(), answers, strict=True):
        U, V = turned(first, r), turned(at, s)
        np.testing.assert_allclose(np.transpose(found["U"]), U, atol=1e-12)
        np.testing.assert_allclose(np.transpose(found["V"]), V, atol=1e-12)
        grid = rm.grassmann_similarity(torch.from_numpy(U), torch.from_numpy(V)).numpy()
        np.testing.assert_allclose(found["grid"], grid, atol=1e-12)
        np.testing.assert_allclose(found["cosines"], np.cos(subspace_angles(U, V))[::-1], atol=1e-7)
        best = found["largest"]
        assert best["value"] == pytest.approx(grid.max(), abs=1e-9)
        assert grid[best["i"] - 1, best["j"] - 1] == pytest.approx(grid.max(), abs=1e-9)


def test_the_playground_s_answers_hold() -> None:
    """What the page's folded answers say of its positions to start from."""
    page = (ROOT / "book/playground.md").read_text()
    presets = json.loads(re.search(r'id="playground-presets">(.*?)</script>', page, re.DOTALL)[1])
    grids = {}
    for preset in presets:
        U, V = np.eye(3)[:, : preset["fixed"]], turned(preset, preset["turned"])
        grids[preset["name"]] = rm.grassmann_similarity(torch.from_numpy(U), torch.from_numpy(V))
    apart = grids["As far apart as two planes can be"]
    assert rm.repmatch_score(apart) == pytest.approx(0.5) and apart[1, 1] == pytest.approx(0.5)
    led = grids["The same plane, led otherwise"]
    assert led[0, 0] == pytest.approx(0, abs=1e-12) and led.flatten()[1:].tolist() == pytest.approx([1, 1, 1])
    assert rm.repmatch_score(grids["A line across the plane"]) == pytest.approx(0, abs=1e-12)
    assert grids["A line in the plane"][1, 0] == pytest.approx(1)


def test_no_two_planes_in_space_score_below_one_half() -> None:
    planes = torch.linalg.qr(torch.randn(2000, 2, 3, 2, generator=torch.Generator().manual_seed(0)).double()).Q
    assert rm.repmatch_score(rm.grassmann_similarity(planes[:, 0], planes[:, 1])).min() >= 0.5 - 1e-9


def test_a_pair_read_the_other_way_round_is_transposed() -> None:
    entry = {"score": [0.5, None, None], "layers": [[0.5, None, None]], "grids": [[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]]}
    entry |= {"chance": 0.1, "chance_95": 0.2}
    script = """
        globalThis.subspaces = require("./subspaces.js");
        const { entry } = require("./explorer.js");
        const answer = [entry(given, "a", "b", 2, "left"), entry(given, "b", "a", 2, "left")]"""
    kept, other = node(script, {"entries": {"a|b|2|left": entry, "a|b|1|left": {}, "a|b|2|right": {}}})
    assert kept == entry
    assert other == entry | {"grids": [[[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]]]}
