"""Each notebook, copied alone to an empty folder, runs as it is where only the package is installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
STORE = os.environ.get("REPMATCH_STORE", str(ROOT / ".store"))  # the build's: other tests have an empty one each
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

FROM_THE_WHEEL = """
import repmatch_lib.paths
assert repmatch_lib.paths.PACKAGE == repmatch_lib.paths.Path({package!r})
assert all(repmatch_lib.paths.project_file(name).is_relative_to({package!r}) for name in ("data/mini", "notebooks"))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as its wheel installs it."""
    folder = tmp_path_factory.mktemp("installed")
    build = ["hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run([sys.executable, "-m", *build], cwd=ROOT, check=True, capture_output=True)
    install = ["pip", "install", "--quiet", "--no-deps", "--target", folder / "site", *folder.glob("*.whl")]
    subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True)
    return folder / "site/repmatch_lib"


@pytest.fixture(scope="module")
def kernel(package: Path) -> Iterator[NotebookClient]:
    """One kernel for all notebooks, since loading PyTorch takes longer than most of them."""
    client = NotebookClient(new_notebook(), kernel_name="python3", timeout=600)
    first = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    there = {"PYTHONPATH": os.pathsep.join(first), "REPMATCH_STORE": STORE, "MPLBACKEND": ""}
    with client.setup_kernel(cwd=str(package.parents[1]), env=os.environ | there):
        yield client


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_alone(notebook: Path, kernel: NotebookClient, package: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(notebook, alone)
    kernel.nb = nbformat.read(alone / notebook.name, as_version=4)
    cells = kernel.nb.cells
    cells.insert(0, new_code_cell(f"%reset -f\n%cd -q {alone}"))
    cells.append(new_code_cell(FROM_THE_WHEEL.format(package=str(package))))
    kernel.execute(cleanup_kc=False)
    record = {cell.source.count("record: str") for cell in cells} - {0}
    assert {path.name for path in alone.iterdir()} == {notebook.name, *(f"{notebook.stem}.json" for _ in record)}
