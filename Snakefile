"""The book's pipeline. ``make book`` calls it; so does a cluster, through Snakemake's executor plugins."""

import os
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from repmatch_lib import runner
from repmatch_lib.runs import CODE
from repmatch_lib.store import code_version

PROFILE = config.get("profile", "mini")
STORE = Path(os.environ["REPMATCH_STORE"])
EXECUTED = "book/executed"

# A chapter: its notebook, and the notebooks whose records it reads.
CHAPTERS = {"seed_robustness": [], "dataset_heatmaps": []}

VALUES = {name: runner.settings(f"notebooks/{name}.ipynb", PROFILE) for name in CHAPTERS}
RUNS = {name: {run.id: run for run in runner.plan(f"notebooks/{name}.ipynb", VALUES[name])} for name in CHAPTERS}
REQUESTS = {key: run for runs in RUNS.values() for key, run in runs.items()}


def trained(name):
    return [STORE / "runs" / f"{key}.json" for key in RUNS[name]]


rule book:
    input:
        [f"{EXECUTED}/{name}.ipynb" for name in CHAPTERS],
        "_config.yml",
        "_toc.yml",
        "book/_static/vendor/tex-svg.js",
        "book/references.bib",
        glob_wildcards("book/{page}.md") and [str(p) for p in Path("book").glob("*.md")],
        [str(p) for p in [*Path("book/_static").glob("*.*"), *Path("book/_ext").glob("*.py")]],
    output:
        "_build/html/index.html",
    log:
        "_build/book.log",
    shell:
        "jupyter-book build . --path-output . -W -n --keep-going > {log} 2>&1 || (tail -n 40 {log}; exit 1)"


rule adapters:
    input:
        [STORE / "runs" / f"{key}.json" for key in REQUESTS],


rule adapter:
    output:
        STORE / "runs" / "{key}.json",
    params:
        request=lambda wildcards: REQUESTS[wildcards.key].to_json(),
        code=code_version(CODE),
    threads: 1
    shell:
        "repmatch train {params.request:q} --out {output} --threads {threads}"


rule notebook:
    input:
        "notebooks/{name}.ipynb",
        lambda wildcards: trained(wildcards.name),
        lambda wildcards: [f"{EXECUTED}/{other}.json" for other in CHAPTERS[wildcards.name]],
        lambda wildcards: list(Path("data/recorded").glob("*.json")) if CHAPTERS[wildcards.name] else [],
    output:
        notebook=f"{EXECUTED}/{{name}}.ipynb",
        record=f"{EXECUTED}/{{name}}.json",
    params:
        values=lambda wildcards: VALUES[wildcards.name],
        code=code_version(),
    threads: 2
    shell:
        "repmatch run {wildcards.name} --profile " + PROFILE + " --out {output.notebook}"


rule mathjax:
    input:
        "package-lock.json",
    output:
        "book/_static/vendor/tex-svg.js",
    shell:
        "npm ci --silent --no-audit --no-fund && cp node_modules/mathjax/es5/tex-svg.js {output}"
