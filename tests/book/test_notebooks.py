"""Notebooks and their parameters, through the library and the command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from helpers import ROOT, Command, Tiny
from nbformat.v4 import new_code_cell, new_notebook

import repmatch_lib as rm
from repmatch_lib.book import notebooks, parameters
from repmatch_lib.paths import project_file

SEEDS = project_file("notebooks/seed_robustness.ipynb")
PARAMETERS = """word: str = "one"  # said twice
count: int = 2  # how often
rate: float = 1e-3  # above 0
names: list[str] = ["a", "b"]  # some # names
limit: int | None = None  # null takes all
record: str = "demo.json"  # file for the result"""


def notebook(path: Path, *sources: str, tags: tuple[str, ...] = ("parameters", "plan")) -> Path:
    """A notebook of code cells, the first of them tagged."""
    cells = [new_code_cell(source) for source in sources]
    for cell, tag in zip(cells, tags, strict=False):
        cell.metadata["tags"] = [tag]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return notebook(tmp_path / "demo.ipynb", PARAMETERS, "")


@pytest.fixture
def command(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """As everywhere, but in a folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return command


def test_parameters_are_read(demo: Path) -> None:
    found = {name: (p.annotation, p.default, p.help) for name, p in parameters.declared(demo).items()}
    assert found == {
        "word": ("str", "one", "said twice"),
        "count": ("int", 2, "how often"),
        "rate": ("float", 1e-3, "above 0"),
        "names": ("list[str]", ["a", "b"], "some # names"),
        "limit": ("int | None", None, "null takes all"),
        "record": ("str", "demo.json", "file for the result"),
    }


@pytest.mark.parametrize("line", ["count = 2", "import os", "count: int", "print(1)"])
def test_other_lines_are_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"bad\.ipynb: the parameters cell may only hold"):
        parameters.declared(notebook(tmp_path / "bad.ipynb", line))


@pytest.mark.parametrize("annotation", ["open('ran', 'w')", "list[open('ran', 'w')]", "Path", "int + int", "[int]"])
def test_an_annotation_is_read_and_never_run(annotation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"bad\.ipynb, parameter rank: unknown type .*: give bool, dict, float"):
        parameters.declared(notebook(tmp_path / "bad.ipynb", f"rank: {annotation} = 3  # rank"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("int | None", [3, None], ["3", 2.5]),
        ("list[list[str]]", [[["a"], []]], [["a"], [[1]]]),
        ("dict[str, int]", [{"a": 1}], [{"a": "b"}]),
        ("float", [2, 0.5], ["x", None]),
    ],
)
def test_values_are_of_the_annotated_type(annotation: str, right: list, wrong: list) -> None:
    parameter = parameters.Parameter("x", annotation, None, "help")
    assert [parameter.check(value) for value in right] == right
    for value in wrong:
        with pytest.raises(parameters.ParameterError, match="x = .* is not"):
            parameter.check(value)


def test_no_notebook_and_no_parameters_cell(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(parameters.ParameterError, match=r"no notebook .*none\.ipynb; there are demo"):
        parameters.declared(tmp_path / "none.ipynb")
    with pytest.raises(parameters.ParameterError, match="no cell tagged 'parameters'"):
        parameters.declared(notebook(tmp_path / "bare.ipynb", "x = 1", tags=()))


def test_values_default_profile_override(demo: Path, tmp_path: Path) -> None:
    profile = tmp_path / "own.yaml"
    profile.write_text("all: {count: 3, limit: 5, absent: 1}\ndemo: {limit: 7}\nother: {word: no}\n")
    values = parameters.settings(demo, str(profile), {"word": "two"})
    assert values == {
        "word": "two", "count": 3, "rate": 1e-3, "names": ["a", "b"], "limit": 7, "record": "demo.json",
    }  # fmt: skip
    with pytest.raises(parameters.ParameterError, match="unknown profile 'big': give recorded, mini, laptop, paper"):
        parameters.settings(demo, "big")
    profile.write_text("demo: {cuont: 3}\n")
    with pytest.raises(parameters.ParameterError, match="'cuont'"):
        parameters.settings(demo, str(profile))


def test_assignments_are_parsed() -> None:
    texts = [
        "rank=8",
        "seeds=[3,4]",
        "task=sst5",
        "rows=null",
        "lr=1e-4",
        "tasks=[sst2, imdb]",
        "file=a=b.csv",
        "on=true",
    ]
    assert parameters.parse(texts) == {
        "rank": 8, "seeds": [3, 4], "task": "sst5", "rows": None, "lr": 1e-4, "tasks": ["sst2", "imdb"],
        "file": "a=b.csv", "on": True,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["rank", "=8", "a b=1", "tasks=[sst2", "task='sst2"])
def test_what_is_no_assignment_is_named(text: str) -> None:
    with pytest.raises(parameters.ParameterError, match=re.escape(text)):
        parameters.parse([text])


IMPOSSIBLE = {
    "rnak=8": r"no parameter 'rnak'; it has(?s:.*)rank: int = 4  # rank of the update",
    "rank=0x": "rank = '0x' is not int: rank of the update",
    "rank=eight": "rank = 'eight' is not int",
    "rank=4.0": "rank = 4.0 is not int",
    "rank=true": "rank = True is not int",
    "seeds=3": r"seeds = 3 is not list\[int\]: training seeds",
    "seeds=[0,a]": r"seeds = \[0, 'a'\] is not list\[int\]",
    "rank=0": "rank = 0: .*greater than or equal to 1",
    "rank=-1": "rank = -1: ",
    "rows=0": "rows.* = 0: ",
    "lr=0": "lr = 0.0: .*greater than 0",
    "lr=2": "lr = 2.0: .*less than 1",
    "epochs=0": "epochs.* = 0: ",
    "max_length=1": "max_length = 1: .*8",
    "source=web": "source = 'web': .*'mini', 'local', 'hub' or 'auto'",
    "task=foo": "task.*unknown task 'foo': give one of sst2, sst5",
    "seeds=[0]": r"seeds = \[0\] .*at least two",
    "seeds=[1,1]": r"seeds = \[1, 1\] .*at least two",
    "seeds=[0,-1]": "seed = -1: ",
    "encoder=foo": "unknown encoder 'foo': give one of minilm, bert-base",
    "rows=1000000": "asked for 1000000. Lower rows",
}


@pytest.mark.parametrize("assignment", IMPOSSIBLE)
def test_impossible_parameters_stop_before_anything(
    assignment: str, command: Command, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)  # nothing is to be made, so no other process is needed
    code, _, message = command("run", "seed_robustness", assignment)
    assert code not in (0, None) and "Traceback" not in message
    assert re.search(IMPOSSIBLE[assignment], message), message
    assert not list(Path.cwd().iterdir())
    assert not [path for path in own_store.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("assignment", [a for a in IMPOSSIBLE if a not in ("encoder=foo", "rows=1000000")])
def test_impossible_parameters_are_parameter_errors(assignment: str) -> None:
    with pytest.raises(parameters.ParameterError, match=IMPOSSIBLE[assignment]):
        notebooks.plan(SEEDS, parameters.settings(SEEDS, overrides=parameters.parse([assignment])))


def test_output_names() -> None:
    assert notebooks.output_name("notebooks/demo.ipynb", {}) == "demo"
    assert notebooks.output_name("demo.ipynb", {"seeds": [3, 4], "rank": 8}) == "demo--rank-8--seeds-3-4"
    own = notebooks.output_name("demo.ipynb", {"task": "../mine/own file.csv"})
    assert re.fullmatch(r"demo--task-\.\.-mine-own-file\.csv--[0-9a-f]{8}", own)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("task", ["a/b.csv", "a-b.csv", "a b.csv", "a_b.csv", "ä.csv", "ö.csv"]),
        ("tasks", [["a", "b"], ["a-b"], ["a, b"], ["ä"], ["ö"]]),
        ("seeds", [[1], [-1], [1, 2], [12], []]),
        ("lr", [1e-5, 1e5, -1e-5, 0.1, -0.1]),
        ("rows", [{"a": 1}, {"a": 11}, {"a-1": 1}]),
    ],
)
def test_no_two_values_share_a_name(name: str, values: list[Any]) -> None:
    assert len({notebooks.output_name("demo.ipynb", {name: value}) for value in values}) == len(values)


def test_a_source_is_never_replaced(demo: Path) -> None:
    before = demo.read_bytes()
    of_the_book = [ROOT / f"notebooks/{name}.ipynb" for name in ("seed_robustness", "new")]
    for out in (demo, demo.parent / "." / demo.name, *of_the_book):
        with pytest.raises(parameters.ParameterError, match="is a notebook to run, or lies among them: give another"):
            notebooks.run(demo, out)
    assert demo.read_bytes() == before and not of_the_book[1].exists()


@pytest.mark.parametrize("n", [2, 9, 20])
def test_other_values_have_other_names(n: int) -> None:
    names = {notebooks.output_name("demo.ipynb", {"seeds": seeds}) for seeds in (list(range(n)), list(range(n + 1)))}
    assert len(names) == 2


def test_other_profiles_have_other_names(command: Command, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outs = []
    monkeypatch.setattr(notebooks, "run", lambda source, out, *_: outs.append(out))
    for profile in parameters.PROFILES:
        assert command("run", str(demo), "--profile", profile)[0] == 0
    assert len(set(outs)) == 4 and outs[0].stem == "demo"  # the book's own page is the recorded one


def texts(value: Any) -> Iterator[str]:
    """Every text in nested metadata."""
    if isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


def test_an_executed_notebook(
    command: Command,
    tmp_path: Path,
    own_store: Path,
    tiny: Tiny,
    toy: rm.Corpus,
) -> None:
    plan = (
        "import repmatch_lib as rm\n"
        f"runs = rm.grid(task=[{str(toy.task.file)!r}], encoder={str(tiny('bert').folder)!r}, rank=count, epochs=1, "
        "max_length=64)"
    )
    body = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "print('noise', file=sys.stderr)\n"
        "print(word, word)\n"
        "_ = Path(record).write_text(json.dumps([word, count, rate, names, limit]))"
    )
    source = notebook(tmp_path / "demo.ipynb", PARAMETERS, plan, body)
    before = source.read_bytes()
    code, _, message = command("run", str(source), "word=two", "names=[c]")
    assert code == 0, message
    out = Path("book/executed/demo--names-c--word-two.ipynb")
    executed = nbformat.read(out, as_version=4)
    assert [c.execution_count for c in executed.cells] == list(range(1, len(executed.cells) + 1))
    outputs = [output for cell in executed.cells for output in cell.outputs]
    assert [(o.name, o.text) for o in outputs] == [("stdout", "two two\n")]
    assert json.loads(out.with_suffix(".json").read_text()) == ["two", 2, 1e-3, ["c"], None]
    folded = [cell.source for cell in executed.cells if "hide-input" in cell.metadata.get("tags", [])]
    assert len(folded) == 1 and 'word = "two"' in folded[0]
    metadata = [executed.metadata, *(cell.metadata for cell in executed.cells)]
    assert not [
        text for text in texts(json.loads(json.dumps(metadata))) if text.startswith("/") or str(tmp_path) in text
    ]
    assert sorted(p.name for p in out.parent.iterdir()) == [f"{out.stem}.ipynb", f"{out.stem}.json"]
    assert source.read_bytes() == before
    (adapter,) = (own_store / "adapters").glob("[!.]*")
    assert rm.Adapter.load(adapter).config["r"] == 2


def test_a_failing_cell(tmp_path: Path, command: Command) -> None:
    body = "from pathlib import Path\n_ = Path(record).write_text('{}')\nprint('so far')"
    source = notebook(
        tmp_path / "demo.ipynb", PARAMETERS, "runs = []", body, "raise KeyError('lost')", "print('never')"
    )
    code, _, message = command("run", str(source), "--out", "here.ipynb")
    assert code not in (0, None) and "demo.ipynb failed (KeyError: 'lost'); see here.failed.ipynb" in message
    assert [path.name for path in Path.cwd().iterdir()] == ["here.failed.ipynb"]
    kept = Path("here.failed.ipynb").read_text()
    assert "so far" in kept and "KeyError" in kept and '"never' not in kept


def test_a_dead_kernel_leaves_no_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = notebook(tmp_path / "demo.ipynb", PARAMETERS, "runs = []", "import os\nos._exit(1)")
    with pytest.raises(RuntimeError):
        notebooks.run(source, Path("out/done.ipynb"), progress=False)
    assert not [path for path in Path("out").glob("*") if "failed" not in path.name]


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a notebook would go, whose execution is interrupted."""

    def interrupt(source: Path, working: Path, **_: Any) -> None:
        Path(working).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(papermill, "execute_notebook", interrupt)
    return Path("out/done.ipynb")


def test_an_interruption_leaves_nothing(demo: Path, interrupted: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        notebooks.run(demo, interrupted, progress=False)
    assert not list(interrupted.parent.iterdir())


def test_an_interruption_keeps_what_was_there(demo: Path, interrupted: Path) -> None:
    """An earlier run's notebook and record go together."""
    out = interrupted
    out.parent.mkdir()
    out.write_text("whole")
    out.with_suffix(".json").write_text("record")
    with pytest.raises(KeyboardInterrupt):
        notebooks.run(demo, out, progress=False)
    assert {path.name: path.read_text() for path in out.parent.iterdir()} == {
        "done.ipynb": "whole",
        "done.json": "record",
    }


@pytest.mark.parametrize("text", ["2024-01-15", "2024-02-30", "on", "12:30", "no", "1e"])
def test_a_text_needs_no_quotes(text: str, demo: Path) -> None:
    assert parameters.settings(demo, overrides=parameters.parse([f"word={text}"]))["word"] == text


def test_a_number_is_decimal_and_one_for_a_text_says_how(demo: Path) -> None:
    with pytest.raises(parameters.ParameterError, match=r"count = '010' is not int"):
        parameters.settings(demo, overrides=parameters.parse(["count=010"]))
    with pytest.raises(parameters.ParameterError, match="""word = 12 is not str.*needs quotes: word='"12"'"""):
        parameters.settings(demo, overrides=parameters.parse(["word=12"]))
    assert parameters.settings(demo, overrides=parameters.parse(['word="12"']))["word"] == "12"


BAD_PROFILES = ["all: [1,\n  : {", "", "hello", "- 1", "all: [1]", "all:\n", "all: !!python/none", "like: mini"]


@pytest.mark.parametrize("text", BAD_PROFILES)
def test_a_profile_that_is_none_is_named(text: str, demo: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(parameters.ParameterError, match="the profile .*own.yaml (is no YAML|holds)"):
        parameters.settings(demo, str(tmp_path / "own.yaml"))


RECORDING = """
import time
from pathlib import Path
import repmatch_lib as rm
rm.Record("demo", {"count": count}, {}, [], {}, {}).save(record)
if count > 2:
    Path("recorded").touch()
    time.sleep(100)
"""


def test_a_killed_run_leaves_what_was_there_and_the_next_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one sweeps; in a folder with braces in its name, which papermill would fill in."""
    home = tmp_path / "{{ home }}"
    home.mkdir()
    monkeypatch.chdir(home)
    file = notebook(home / "demo.ipynb", PARAMETERS, RECORDING)
    out = home / "out/demo.ipynb"
    notebooks.run(file, out, prepared=True, progress=False)
    (injected,) = [c.source for c in nbformat.read(out, 4).cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert 'record = "out/demo.json"' in injected
    before = {name.name: name.read_bytes() for name in out.parent.iterdir()}
    assert sorted(before) == ["demo.ipynb", "demo.json"]
    how = f"{str(file)!r}, {str(out)!r}, overrides={{'count': 3}}, prepared=True"
    code = f"from repmatch_lib.book import notebooks; notebooks.run({how})"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    while not (home / "recorded").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = [path for path in out.parent.iterdir() if path.name not in before]
    assert len(left) == 1 and {name: (out.parent / name).read_bytes() for name in before} == before
    notebooks.run(file, out, prepared=True, progress=False)
    assert sorted(path.name for path in out.parent.iterdir()) == ["demo.ipynb", "demo.json"]
