"""The ``repmatch`` command."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from repmatch_lib.cli.recorded import archive_recorded, fetch_recorded, keep, keep_small_runs, verify

if TYPE_CHECKING:
    from repmatch_lib.data.corpora import SourceName
    from repmatch_lib.data.tasks import Task
    from repmatch_lib.settings import Measure
    from repmatch_lib.similarity.comparison import Comparison
    from repmatch_lib.similarity.subspaces import Side

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
PLOTS = (".png", ".svg", ".pdf")
TEXT, LABEL = ["text"], ["label"]
console, errors = Console(), Console(stderr=True)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Folder of a LoRA adapter saved by PEFT")],
    b: Annotated[Path, typer.Argument(help="Folder of another, of the same base model")],
    module: Annotated[str, typer.Option(help="query, key, value, output, or the model's own name")] = "value",
    side: Annotated[str, typer.Option(help="left or right singular vectors")] = "left",
    same_base: Annotated[bool, typer.Option(help="Two copies of one base model under different names")] = False,
    plot: Annotated[Optional[Path], typer.Option(help="Write the heat maps to this PNG, SVG or PDF")] = None,
) -> None:
    """RepMatch of two adapters: a score a layer, their mean, and chance. No base model is loaded."""
    from repmatch_lib.similarity.comparison import repmatch

    _check_plot(plot)
    _show(repmatch(a, b, module=module, side=cast("Side", side), same_base=same_base), plot)


@app.command()
def data(
    first: Annotated[str, typer.Argument(help="A CSV, JSONL or Parquet file, or a task's name")],
    second: Annotated[str, typer.Argument(help="Another, or the same: then only the training seeds differ")],
    text: Annotated[
        list[str],
        typer.Option(help="Column of the texts (a pair: premise,hypothesis); twice if another in SECOND"),
    ] = TEXT,
    label: Annotated[list[str], typer.Option(help="Column of the labels; twice if another in SECOND")] = LABEL,
    same_labels: Annotated[bool, typer.Option(help="A label is one class in both")] = True,
    rows: Annotated[Optional[int], typer.Option(help="A sample of so many rows of each; all if not given")] = None,
    source: Annotated[str, typer.Option(help="Of a task: mini, local, hub or auto")] = "auto",
    encoder: Annotated[str, typer.Option(help="Name, folder or hub id")] = "minilm",
    rank: Annotated[int, typer.Option(help="Of the updates")] = 4,
    lr: Annotated[float, typer.Option(help="AdamW's learning rate")] = 1e-3,
    epochs: Annotated[int, typer.Option(help="Passes over the rows")] = 5,
    head_seed: Annotated[int, typer.Option(help="Of the frozen head that both share")] = 0,
    max_length: Annotated[int, typer.Option(help="Longest sequence in tokens")] = 256,
    plot: Annotated[Optional[Path], typer.Option(help="Write the heat maps to this PNG, SVG or PDF")] = None,
    out: Annotated[Optional[Path], typer.Option(help="Keep the two adapters in this folder")] = None,
) -> None:
    """RepMatch of two data sets: an adapter is trained on each, and the two are compared."""
    from repmatch_lib.training.pairs import train_pair

    _check_plot(plot)
    if out and out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: give a folder")
    _check_pair((first, second), text)
    one, other = (
        _task(name, _of(text, k, "--text"), _of(label, k, "--label")) for k, name in enumerate((first, second))
    )
    comparison = train_pair(
        one, other, encoder, rows=rows, source=cast("SourceName", source), same_labels=same_labels, folder=out,
        rank=rank, lr=lr, epochs=epochs, head_seed=head_seed, max_length=max_length,
    )  # fmt: skip
    _show(comparison, plot)
    if out:
        console.print(f"Adapters: {out / 'first'} and {out / 'second'}", soft_wrap=True)


def _show(found: Comparison, plot: Path | None) -> None:
    table = Table(
        title=_escape(" | ".join(found.names)), caption=f"{found.module}, {found.side} side, width {found.width}"
    )
    for heading in ("layer", "RepMatch", "phi(1, 1)"):
        table.add_column(heading, justify="right")
    for row in found.to_pandas().itertuples():
        table.add_row(str(row.layer), f"{row.score:.3f}", f"{row.phi_11:.3f}")
    table.add_section()
    table.add_row("mean", f"[bold]{found.score:.3f}[/]", f"{float(found.grid[:, 0, 0].mean()):.3f}")
    table.add_row("chance", f"{found.chance:.3f}", f"{1 / found.width:.3f}")
    console.print(table)
    for matrix in found.left_out:
        console.print(f"Left out: {_escape(matrix)}", soft_wrap=True)
    if found.same_head is False:
        console.print(
            "The two were trained under different heads (head_seed): a low score then says nothing of the data."
        )
    if plot:
        found.plot(plot)
        console.print(f"Heat maps: {plot}", soft_wrap=True)


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="A notebook's name, such as seed_robustness, or its path")],
    params: Annotated[Optional[list[str]], typer.Argument(help="Parameters, such as rank=8 'seeds=[3,4]'")] = None,
    profile: Annotated[str, typer.Option(help="recorded, mini, laptop, paper, or a YAML file")] = "mini",
    out: Annotated[Optional[Path], typer.Option(help="The executed notebook; a name of its own if not given")] = None,
    prepared: Annotated[bool, typer.Option("--prepared", help="The store has what it needs: see prepare")] = False,
) -> None:
    """Run one notebook with other parameters; the executed notebook and its record go beside the book's."""
    from repmatch_lib.book import notebooks, parameters
    from repmatch_lib.paths import project_file

    source = Path(notebook) if notebook.endswith(".ipynb") else project_file(f"notebooks/{notebook}.ipynb")
    overrides = parameters.parse(params or [])
    # The book's own page is that of the recorded profile; other parameters are those of the bundled corpora.
    plain = profile == ("mini" if overrides else "recorded")
    named = overrides | ({} if plain else {"profile": Path(profile).stem})
    out = out or Path("book/executed") / f"{notebooks.output_name(source, named)}.ipynb"
    console.print(f"Executed notebook: {notebooks.run(source, out, profile, overrides, prepared)}")


@app.command()
def prepare(
    names: Annotated[list[str], typer.Argument(help="Names of notebooks")],
    profile: Annotated[str, typer.Option(help="recorded, mini, laptop, paper, or a YAML file")] = "mini",
) -> None:
    """Make everything that some notebooks need and the store lacks: one request a core, each once."""
    from repmatch_lib.book import notebooks, parameters
    from repmatch_lib.paths import project_file

    files = [project_file(f"notebooks/{name}.ipynb") for name in names]
    notebooks.prepare([r for file in files for r in notebooks.plan(file, parameters.settings(file, profile), profile)])


@app.command()
def train(
    request: Annotated[str, typer.Argument(help='What to make, as JSON: \'{"task": "sst2", "source": "mini"}\'')],
    out: Annotated[Optional[Path], typer.Option(help="Write what was made to this JSON file")] = None,
) -> None:
    """Train one adapter, score a pool, find its duplicates or fine-tune on a selection, unless the store has it."""
    from repmatch_lib.experiments.catalogue import parse
    from repmatch_lib.store import write_atomically

    asked = parse(request)
    result = asked.make()
    # Scores and duplicates say what they were made of, models and outcomes where they come from, plain tables nothing.
    known = [getattr(result, name) for name in ("made_of", "provenance") if hasattr(result, name)]
    origin = known[0] if known else {"request": json.loads(asked.to_json()), "rows": len(result)}
    if out:
        write_atomically(out, json.dumps(origin, indent=1, sort_keys=True) + "\n")
    else:
        console.print_json(data=origin)


@app.command()
def score(
    task: Annotated[str, typer.Option(help="A task's name, such as sst2, or a CSV, JSONL or Parquet file")],
    target: Annotated[Path, typer.Option(help="Folder of the LoRA adapter to compare with")],
    out: Annotated[Path, typer.Option(help="Folder for the scores; what is there already is not done again")],
    text: Annotated[str, typer.Option(help="A file's column of texts (a pair: premise,hypothesis)")] = "text",
    label: Annotated[str, typer.Option(help="A file's column of labels")] = "label",
    shard: Annotated[str, typer.Option(help="Do only a part, such as 3/16")] = "1/1",
    encoder: Annotated[
        Optional[str], typer.Option(help="Name, folder or hub id; the target's own if not given")
    ] = None,
    source: Annotated[str, typer.Option(help="mini, local, hub or auto")] = "auto",
    split: Annotated[str, typer.Option(help="Of the task: train or validation")] = "train",
    rows: Annotated[Optional[int], typer.Option(help="A sample of so many rows; all if not given")] = None,
    sample_seed: Annotated[int, typer.Option(help="Of the sample")] = 0,
    steps: Annotated[int, typer.Option(help="AdamW steps of each instance")] = 1,
    lr: Annotated[float, typer.Option(help="AdamW's learning rate")] = 1e-3,
    side: Annotated[str, typer.Option(help="left or right singular vectors")] = "left",
    module: Annotated[Optional[list[str]], typer.Option(help="query, key, value or output; repeat for several")] = None,
    rank: Annotated[Optional[int], typer.Option(help="Of the instances' updates; the target's if not given")] = None,
    seed: Annotated[Optional[int], typer.Option(help="Of the LoRA start; 0, or by cosine the target's")] = None,
    measure: Annotated[str, typer.Option(help="repmatch, or cosine, which has a sign")] = "repmatch",
    head_seed: Annotated[Optional[int], typer.Option(help="Of the frozen head; the target's if not given")] = None,
    max_length: Annotated[int, typer.Option(help="Longest sequence in tokens")] = 256,
    precision: Annotated[str, typer.Option(help="float32, bf16 or auto")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    same_base: Annotated[bool, typer.Option(help="Two copies of one base model under different names")] = False,
    threads: Annotated[Optional[int], typer.Option(help="Processor threads")] = None,
) -> None:
    """Score every instance of a task against an adapter; stop it at any moment, and start it again."""
    import torch

    import repmatch_lib as rm

    if threads:
        torch.set_num_threads(threads)
    adapter = rm.Adapter.load(target)
    name = encoder or (adapter.provenance.get("encoder") or {}).get("name") or adapter.base_model
    if not name:
        raise ValueError(f"{target} does not name its base model: say which with --encoder")
    data = rm.load(
        _task(task, text, label), split=split, source=cast("SourceName", source), rows=rows, seed=sample_seed
    )
    scores = rm.score_instances(
        rm.encoder(name), data, adapter, steps, lr, cast("Side", side), tuple(module or ("value",)), out=out,
        shard=_part(shard), device=device, same_base=same_base, rank=rank, seed=seed, head_seed=head_seed,
        measure=cast("Measure", measure), max_length=max_length, precision=precision,
    )  # fmt: skip
    if scores is None:
        console.print(f"Shard {shard} is done; other parts of {out} are missing", soft_wrap=True)
    else:
        mean = scores.to_pandas().score.mean()
        console.print(f"{len(scores)} instances scored, mean {mean:.4f}: {out / 'scores.parquet'}", soft_wrap=True)


@app.command()
def gather(
    folder: Annotated[Path, typer.Argument(help="Folder that 'repmatch score --out' wrote")],
) -> None:
    """Join a folder's parts into scores.parquet, in the data's order; refuses if any is missing."""
    from repmatch_lib.instances.scores import GATHERED, ScoreStore

    console.print(f"{len(ScoreStore.open(folder).gather())} instances: {folder / GATHERED}", soft_wrap=True)


for command in (keep, keep_small_runs, verify, archive_recorded, fetch_recorded):
    app.command()(command)


def main() -> None:
    """Run the command; an error that names its mend is shown as one message, not as a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=errors)])
    try:
        app()
    except (ValueError, TypeError, OSError, FloatingPointError, MemoryError, RuntimeError) as error:
        errors.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


def _task(name: str, text: str, label: str) -> Task:
    from repmatch_lib.data.tasks import TASKS, Task, task

    if name in TASKS or not (Path(name).suffix or Path(name).is_dir()):
        return task(name)
    return Task.from_file(name, tuple(text.split(",")), label)


def _check_plot(plot: Path | None) -> None:
    """Before anything is trained, not after."""
    if plot and plot.suffix.lower() not in PLOTS:
        raise ValueError(f"--plot {plot}: give a file that ends in {', '.join(PLOTS)}")
    if plot and plot.is_dir():
        raise ValueError(f"--plot {plot} is a folder: give a file")
    if plot and not plot.absolute().parent.is_dir():
        raise ValueError(f"--plot {plot}: there is no folder {plot.parent}; make it first")


def _check_pair(files: Sequence[str], text: Sequence[str]) -> None:
    """Two columns of one file are a pair; given one by one, each is that of another file."""
    from repmatch_lib.data.files import read_table

    tables = [read_table(Path(file)) for file in files if len({*text}) == 2 and Path(file).exists()]
    if tables and all({*text} <= {*table.column_names} for table in tables):
        raise ValueError(
            f"--text {text[0]} --text {text[1]}: both are columns of {files[0]}. If they are a pair, give "
            f"--text {','.join(text)}; if only one is meant, give that one"
        )


def _of(columns: Sequence[str], k: int, option: str) -> str:
    if len(columns) > 2:
        raise ValueError(f"{option} was given {len(columns)} times; give it once, or once for each file")
    return columns[min(k, len(columns) - 1)]


def _part(text: str) -> tuple[int, int]:
    k, slash, n = text.partition("/")
    if not (slash and k.isdigit() and n.isdigit()):
        raise ValueError(f"--shard {text!r}: write k/n, such as 3/16")
    return int(k), int(n)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
