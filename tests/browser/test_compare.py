"""The page that compares two adapters, against the library."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from built import Visit
from playwright.sync_api import Page, expect
from safetensors.torch import save_file

import repmatch_lib as rm
from repmatch_lib.experiments.recorded import Recorded
from repmatch_lib.similarity.adapters import CONFIG, WEIGHTS
from repmatch_lib.store import Store

BERT = "base_model.model.bert.encoder.layer.{}.attention.self.value"
QUERY = BERT.replace("value", "query")
LLAMA = "base_model.model.model.layers.{}.self_attn.v_proj"


def adapter(folder: Path, seed: int, name: str = BERT, width: int = 48, rank: int = 3, **more: torch.Tensor) -> Path:
    """A folder as PEFT writes it, in the type of ``more``'s first tensor, or in float32; one direction is common."""
    drawn, common = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(9)
    dtype = next((tensor.dtype for tensor in more.values()), torch.float32)
    tensors = {}
    for layer in (0, 1, 10, 2):
        A, B = torch.randn(rank, width, generator=drawn), torch.randn(width, rank, generator=drawn)
        tensors[f"{name.format(layer)}.lora_A.weight"] = A.to(dtype)
        tensors[f"{name.format(layer)}.lora_B.weight"] = (B + 2 * torch.randn(width, 1, generator=common)).to(dtype)
    folder.mkdir()
    save_file(tensors | more, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": rank, "base_model_name_or_path": "one"}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


@pytest.fixture
def page(visits: dict[str, Visit]) -> Page:
    return visits["light"].open("book/compare.html")


def give(page: Page, *files: Path) -> None:
    for input_, file in zip(page.locator("input[type=file]").all(), files, strict=True):
        input_.set_input_files(file)


def shown(page: Page) -> pd.DataFrame:
    """What the page offers to download."""
    expect(page.locator(".score")).to_contain_text("RepMatch 0.", timeout=60_000)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as CSV").click()
    return pd.read_csv(StringIO(waiting.value.path().read_text()))


def test_recorded_adapters_are_compared_at_once(page: Page, visits: dict[str, Visit], tmp_path: Path) -> None:
    there, chosen = Recorded(), page.locator("select").evaluate_all("all => all.slice(0, 2).map(one => one.value)")
    a, b = (there.folder(there.entries[key], Store(tmp_path)) for key in chosen)
    assert shown(page).score.tolist() == pytest.approx(rm.repmatch(a, b).layers.tolist(), abs=1e-6)
    assert all(url.startswith((visits["light"].site, "blob:", "data:")) for url in visits["light"].asked)
    assert not visits["light"].said and not visits["light"].failed


@pytest.mark.parametrize(
    ("name", "width", "rank", "dtype"),
    [(BERT, 48, 3, torch.float32), (BERT, 48, 5, torch.float16), (LLAMA, 4096, 16, torch.bfloat16)],
    ids=["BERT in float32", "BERT in float16", "LLaMA in bfloat16"],
)
def test_files_are_compared_as_the_library_does(
    page: Page, tmp_path: Path, name: str, width: int, rank: int, dtype: torch.dtype
) -> None:
    head = {"base_model.model.classifier.weight": torch.zeros(2, 4, dtype=dtype)}
    a = adapter(tmp_path / "a", 1, name, width, rank, **head)
    b = adapter(tmp_path / "b", 2, name, width, rank + 1, **head)
    give(page, a / WEIGHTS, b / WEIGHTS)
    expect(page.locator(".score")).to_contain_text("the mean of 4 layers", timeout=60_000)
    expected, found = rm.repmatch(a, b), shown(page)
    assert found.score.tolist() == pytest.approx(expected.layers.tolist(), abs=1e-6)
    assert found.name.str.extract(r"\.(\d+)\.", expand=False).tolist() == ["0", "1", "2", "10"]
    chance = float(page.locator(".score").inner_text().partition("unrelated subspaces score ")[2].partition(",")[0])
    assert chance == pytest.approx(expected.chance, rel=0.1, abs=1e-3)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as PNG").click()
    assert waiting.value.path().read_bytes().startswith(b"\x89PNG")


def cut(folder: Path) -> Path:
    whole = (adapter(folder, 1) / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-100])
    return folder / WEIGHTS


def dora(folder: Path) -> Path:
    return adapter(folder, 1, **{f"{BERT.format(0)}.lora_magnitude_vector": torch.ones(48)}) / WEIGHTS


def wide(folder: Path) -> Path:
    return adapter(folder, 1, width=96) / WEIGHTS


def pickled(folder: Path) -> Path:
    folder.mkdir()
    torch.save({"a": torch.ones(2)}, folder / "adapter_model.bin")
    return folder / "adapter_model.bin"


def pointer(folder: Path) -> Path:
    folder.mkdir()
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10\n")
    return folder / WEIGHTS


def untrained(folder: Path) -> Path:
    return adapter(folder, 1, **{f"{BERT.format(0)}.lora_B.weight": torch.zeros(48, 3)}) / WEIGHTS


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut, "is cut off"),
        (dora, "is a DoRA adapter, whose update is not B A"),
        (wide, "Widths differ"),
        (pickled, "is a PyTorch file"),
        (pointer, "is a pointer of Git LFS"),
        (untrained, "holds no update in layer 1: B is zero"),
    ],
)
def test_a_file_that_cannot_be_compared_is_named(
    page: Page, tmp_path: Path, damage: Callable[[Path], Path], sentence: str
) -> None:
    give(page, adapter(tmp_path / "a", 2) / WEIGHTS, damage(tmp_path / "b"))
    expect(page.locator(".score")).to_contain_text(sentence)
    text = page.locator(".score").inner_text()
    assert text.count("\n") == 0 and "adapter_model" in text


def test_the_matrix_and_the_side_can_be_chosen(page: Page, tmp_path: Path) -> None:
    folders = []
    for name, seed in (("a", 1), ("b", 2)):
        query = {
            f"{BERT.format(k).replace('value', 'query')}.lora_{f}.weight": torch.randn(s)
            for k in range(2)
            for f, s in (("A", (3, 48)), ("B", (48, 3)))
        }
        folders.append(adapter(tmp_path / name, seed, **query))
    give(page, *(folder / WEIGHTS for folder in folders))
    expect(page.locator(".score")).to_contain_text("4 layers")
    page.get_by_label("Matrix", exact=True).select_option("attention.self.query")
    expect(page.locator(".score")).to_contain_text("2 layers")
    page.get_by_label("Side", exact=True).select_option("right")
    expect(page.locator(".score")).to_contain_text("2 layers")
    expected = rm.repmatch(*folders, module="query", side="right").layers.tolist()
    assert shown(page).score.tolist() == pytest.approx(expected, abs=1e-6)
