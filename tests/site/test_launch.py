"""A chapter run without a checkout: buttons, install cell, Binder, dev container; and the workflows that publish it."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import json
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from helpers import ROOT
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement
from sphinx.application import Sphinx
from sphinx.errors import ConfigError
from sphinx.util.docutils import docutils_namespace

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def build(folder: Path, **settings: Any) -> dict[str, BeautifulSoup]:
    """A chapter and a page of another kind in the book's theme."""
    source, cell = folder / "source", nbformat.v4.new_markdown_cell("# A chapter")
    for name in ("notebooks", "book/executed"):
        (source / name).mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), source / f"{name}/one.ipynb")
    (source / "index.md").write_text("# A page\n\n```{toctree}\nbook/executed/one\n```\n")
    chosen = {"extensions": ["myst_nb", "launch"], "html_theme": "sphinx_book_theme", "nb_execution_mode": "off"}
    chosen |= {"exclude_patterns": ["notebooks"], "launch_repository": "", "launch_branch": "main"} | settings
    with docutils_namespace():
        app = Sphinx(source, None, folder / "out", folder / "doctrees", "html", chosen, None, sys.stderr)
        app.build()
    pages = {name: folder / f"out/{name}.html" for name in ("index", "book/executed/one")}
    return {name: BeautifulSoup(page.read_text(), "html.parser") for name, page in pages.items()}


def links(page: BeautifulSoup, group: str) -> dict[str, str]:
    """Addresses by what the buttons of a group say; the group and its buttons can be reached and have names."""
    found = page.select(f".dropdown-{group}")
    for menu in found:
        assert menu.button["aria-label"] and menu.button["type"] == "button"
    return {a.get_text(strip=True): a["href"] for menu in found for a in menu.select("li > a[href][title]")}


def test_a_chapter_can_be_opened_elsewhere_and_downloaded(tmp_path: Path) -> None:
    pages = build(tmp_path, launch_repository="owner/name", launch_branch="a/b")
    assert links(pages["book/executed/one"], "launch-buttons") == {
        "Binder": "https://mybinder.org/v2/gh/owner/name/a%2Fb?urlpath=lab/tree/notebooks/one.ipynb",
        "Colab": "https://colab.research.google.com/github/owner/name/blob/a/b/notebooks/one.ipynb",
    }
    downloads = links(pages["book/executed/one"], "download-buttons")
    kept = {"Notebook as executed": "book/executed/one.ipynb", "Notebook to run": "notebooks/one.ipynb"}
    assert downloads.keys() == kept.keys()
    for name, address in downloads.items():
        file = tmp_path / "out/book/executed" / address
        assert file.read_bytes() == (tmp_path / "source" / kept[name]).read_bytes()
    logos = pages["book/executed/one"].select(".dropdown-launch-buttons img")
    assert len(logos) == 2 and all((tmp_path / "out/book/executed" / logo["src"]).is_file() for logo in logos)
    assert not links(pages["index"], "launch-buttons") and "Notebook to run" not in links(
        pages["index"], "download-buttons"
    )


def test_without_an_address_a_chapter_can_be_downloaded(tmp_path: Path) -> None:
    page = build(tmp_path)["book/executed/one"]
    assert not links(page, "launch-buttons") and len(links(page, "download-buttons")) == 2


@pytest.mark.parametrize("address", ["name", "https://github.com/owner/name", "owner/name/more", 'owner/"name'])
def test_an_address_that_is_none_stops_the_build(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(address)):
        build(tmp_path, launch_repository=address)


def install_cell(notebook: Path) -> nbformat.NotebookNode:
    (cell,) = (c for c in nbformat.read(notebook, as_version=4).cells if "install" in c.metadata.get("tags", []))
    return cell


def test_every_notebook_has_the_same_install_cell_before_it_needs_the_library() -> None:
    assert len({install_cell(notebook).source for notebook in NOTEBOOKS}) == 1
    for notebook in NOTEBOOKS:
        cells = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
        assert cells[0] == install_cell(notebook) and "remove-cell" in cells[0].metadata.tags


@pytest.mark.parametrize("there", [True, False])
def test_the_install_cell_installs_what_is_missing_only(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    class Shell:
        def run_line_magic(self, *magic: str) -> None:
            ran.append(magic)

    monkeypatch.setattr(builtins, "get_ipython", Shell, raising=False)
    if not there:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec(TransformerManager().transform_cell(install_cell(NOTEBOOKS[0]).source), {})
    assert ran == ([] if there else [("pip", f"install --quiet {PROJECT['name']}")])


def test_what_notebooks_import_comes_with_the_library() -> None:
    """Binder and a notebook alone install the library without its extras."""
    declared = {Requirement(r).name.lower().replace("_", "-") for r in PROJECT["dependencies"]} | {PROJECT["name"]}
    providers = packages_distributions()
    for notebook in NOTEBOOKS:
        cells = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
        tree = ast.parse("\n".join(TransformerManager().transform_cell(c.source) for c in cells))
        named = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        named += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
        for name in {name.partition(".")[0] for name in named} - sys.stdlib_module_names - {"repmatch_lib"}:
            assert {d.lower().replace("_", "-") for d in providers[name]} & declared, f"{notebook.name}: {name}"


def test_binder_installs_the_library_with_the_pinned_packages() -> None:
    whole, binder = (yaml.safe_load((ROOT / f"{where}environment.yml").read_text()) for where in ("", ".binder/"))
    assert binder["dependencies"] == [d for d in whole["dependencies"] if str(d).startswith("python=")]
    script = ROOT / ".binder/postBuild"
    assert os.access(script, os.X_OK) and script.read_text().startswith("#!")
    assert re.search(r"^pip install .*--constraint constraints.txt --editable \.$", script.read_text(), re.MULTILINE)


def test_the_container_prepares_itself_with_the_makefile() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    command, target = container["postCreateCommand"].split()
    assert command == "make" and target in TARGETS
    (version,) = re.findall(r"python:([\d.]+)-", container["image"])
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_names_what_there_is_and_asks_for_no_more_than_it_needs(file: Path) -> None:
    text, workflow = file.read_text(), yaml.safe_load(file.read_text())
    assert workflow["name"] == file.stem and workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    for job in jobs.values():
        assert job.get("permissions", {}).keys() <= {"pages", "id-token"}
        assert job.get("needs", next(iter(jobs))) in jobs
    for used in re.findall(r"uses: (\S+)", text):
        pinned = re.fullmatch(r"(actions|pypa)/[\w-]+@[0-9a-f]{40}", used)  # a tag can be moved
        assert pinned or (ROOT / used).is_file(), used
    checkouts = [step for job in jobs.values() for step in job.get("steps", []) if "checkout" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    commands = [step["run"] for job in jobs.values() for step in job.get("steps", []) if "run" in step]
    assert {target for command in commands for target in re.findall(r"make (\w+)", command)} <= TARGETS
    assert all(
        (ROOT / name).is_file() for name in re.findall(r"[\w./-]+\.(?:toml|txt)\b", "\n".join([*commands, text]))
    )
    readers = "".join((ROOT / name).read_text() for name in ("book/_ext/launch.py", "tests/browser/conftest.py"))
    assert all(name in readers for name in re.findall(r"REPMATCH_\w+", text))


def test_the_workflows_are_there() -> None:
    assert {file.stem for file in WORKFLOWS} == {"test", "publish", "rebuild", "links"}
