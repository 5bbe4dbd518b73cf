"""The pages' own extensions, and the examples that readers are to follow."""

import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

ROOT = Path(__file__).parents[1]


def build(folder: Path, extensions: str, **pages: str) -> tuple[dict[str, str], str]:
    """A small book of such pages, ``.md`` or, where the text is JSON, ``.ipynb``: HTML by name, and the warnings."""
    source, out, warnings = folder / "source", folder / "out", io.StringIO()
    source.mkdir()
    conf = f"import sys; sys.path.insert(0, {str(ROOT / 'book/_ext')!r})\nextensions = {extensions.split()}\n"
    conf += "nb_execution_mode = 'off'\nmyst_enable_extensions = ['dollarmath', 'attrs_inline']\n"
    (source / "conf.py").write_text(conf)
    for name, text in pages.items():
        (source / f"{name}.{'ipynb' if text.startswith('{') else 'md'}").write_text(text)
    with docutils_namespace():
        Sphinx(source, source, out, folder / "doctrees", "html", status=None, warning=warnings).build()
    return {name: (out / f"{name}.html").read_text() for name in pages}, warnings.getvalue()


def test_recorded_numbers_come_from_the_records(tmp_path: Path) -> None:
    wanted = {"seed_robustness": "other heads", "cls_baseline": "cls hans, level"}
    text = "# Numbers\n\n" + "\n\n".join(f"{{recorded}}`{name}: {estimate}`" for name, estimate in wanted.items())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    pages, warnings = build(
        tmp_path,
        "myst_nb recorded_numbers",
        index=f"{text}\n\n```{{toctree}}\ncells\n```\n",
        cells=json.dumps(notebook),
    )
    assert not warnings
    for page in pages.values():
        spans = re.findall(r'<span class="recorded">(.*?)</span>', page)
        for span, (name, estimate), decimals in zip(spans, wanted.items(), (3, 1), strict=True):
            kept = json.loads((ROOT / f"data/recorded/{name}.json").read_text())["estimates"][estimate]
            value, low, high = (f"{kept[part]:.{decimals}f}" for part in ("value", "low", "high"))
            assert span.replace("\N{NO-BREAK SPACE}", " ") == f"{value} [{low}, {high}]"


@pytest.mark.parametrize(
    ("text", "known"),
    [("seed_robustnes: same head", "cls_baseline, dataset_heatmaps,"), ("seed_robustness: same hed", "; same head;")],
)
def test_an_unknown_recorded_number_is_a_warning_that_names_the_known(tmp_path: Path, text: str, known: str) -> None:
    _, warnings = build(tmp_path, "myst_nb recorded_numbers", index=f"# Page\n\nIt is {{recorded}}`{text}`.\n")
    assert known in warnings and "index.md:3: WARNING" in warnings
