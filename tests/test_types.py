"""What a type checker and an editor see of the library: the real signatures, of every public name."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
from mypy import api

import repmatch_lib as rm

ROOT = Path(__file__).parents[1]
STUB = ROOT / "repmatch_lib/__init__.pyi"

SNIPPET = """
import repmatch_lib as rm

def shown(data: rm.Corpus, run: rm.Run, ranking: rm.Ranking, scores: dict[int, float]) -> None:
    reveal_type(rm.repmatch)
    reveal_type(rm.train_adapter(rm.encoder("minilm"), data))
    reveal_type(rm.train_pair("sst2", "imdb").score)
    reveal_type(rm.score_instances(rm.encoder("minilm"), data, "adapter"))
    reveal_type(rm.adapter(run))
    reveal_type(ranking.make())
    reveal_type(rm.mean_over(scores))
    reveal_type(rm.task("sst2"))
"""

REVEALED = [
    r"def \(a: .*\.Adapter \| str \| .*\.PeftModel \| .*\.PreTrainedModel, b: .*\) -> repmatch_lib\..*\.Comparison",
    r"repmatch_lib\.similarity\.adapters\.Adapter",
    r"float",
    r"repmatch_lib\.instances\.scores\.Scores \| None",
    r"repmatch_lib\.similarity\.adapters\.Adapter",
    r"repmatch_lib\.instances\.scores\.Scores",
    r"repmatch_lib\.statistics\.Estimate",
    r"repmatch_lib\.data\.tasks\.Task",
]


def test_types_hold_and_a_checker_sees_the_real_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package and its benchmarks are checked, as by ``make lint``, while other tests run."""
    monkeypatch.chdir(ROOT)
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET)
    output, errors, status = api.run(["--no-pretty", "repmatch_lib", "benchmarks", str(snippet)])
    assert status == 0, output + errors
    types = re.findall(r'Revealed type is "(.*)"', output)
    assert len(types) == len(REVEALED)
    for seen, expected in zip(types, REVEALED, strict=True):
        assert re.fullmatch(expected, seen)


def test_the_stub_names_what_the_package_has() -> None:
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    names = [alias.asname for node in imports for alias in node.names]
    assert sorted(names) == sorted(dir(rm))


@pytest.mark.parametrize("name", dir(rm))
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(rm, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__doc__ and not value.__doc__.startswith(f"{name}(")  # what dataclasses write themselves
