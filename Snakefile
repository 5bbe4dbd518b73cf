"""The book's pipeline. ``make book`` calls it; so does a cluster, through Snakemake's executor plugins."""

import os
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from repmatch_lib.book import notebooks, parameters
from repmatch_lib.experiments.requests import stages
from repmatch_lib.store import key
from repmatch_lib.versions import code_version, whole_version

PROFILE = config.get("profile", "recorded")
STORE = Path(os.environ["REPMATCH_STORE"])
EXECUTED = "book/executed"

# A corpus scored in parts: --config score="--task sst2 --target adapter/" out=scores shards=16, target "scores".
SCORES, SHARDS = config.get("out", "scores"), int(config.get("shards", 4))

# Scripts that pages carry: where npm puts them.
VENDORED = {
    "tex-svg.js": "mathjax/es5/tex-svg.js",
    "d3.min.js": "d3/dist/d3.min.js",
    "matrix.umd.js": "ml-matrix/matrix.umd.js",
    "plot.umd.min.js": "@observablehq/plot/dist/plot.umd.min.js",
    **{f"reveal/{name}": f"reveal.js/dist/{name}" for name in ("reset.css", "reveal.css", "reveal.js")},
    "reveal/notes.js": "reveal.js/plugin/notes/notes.js",
}

# What a page is made of, beside the notebooks: not the folders made by rules, nor what makes slides and PDF.
KINDS = {".md", ".bib", ".css", ".js", ".svg", ".py"}
APART = ("vendor", "built", "tools")
WRITTEN = [str(path) for path in Path("book").rglob("*") if path.suffix in KINDS and not set(APART) & set(path.parts)]
# Sphinx sees for itself what has changed in text; it does not see all that frames and feeds the pages.
FRAME = "_config.yml _toc.yml book/_ext book/_static book/_templates repmatch_lib data/published data/recorded"

CHAPTERS = sorted(path.stem for path in Path("notebooks").glob("*.ipynb"))
OVERVIEWS = ("ledger", "execution")  # notebooks that read the records of all others
READERS = {overview: [name for name in CHAPTERS if name not in OVERVIEWS] for overview in OVERVIEWS}

VALUES = {name: parameters.settings(f"notebooks/{name}.ipynb", PROFILE) for name in CHAPTERS}
RUNS = {name: notebooks.plan(f"notebooks/{name}.ipynb", VALUES[name], PROFILE) for name in CHAPTERS}
REQUESTS = {request.id: request for runs in RUNS.values() for stage in stages(runs) for request in stage}


# One pool of processes makes what all notebooks need, and says so in a file of this name.
PREPARED = STORE / f"prepared-{key(ids=sorted(REQUESTS), code=whole_version())}"


def made(wanted):
    """Files that say that these requests are in the store."""
    return [STORE / "runs" / f"{request.id}.json" for request in wanted]


def scoring_code(wildcards):
    """The version of what scores instances."""
    return code_version("repmatch_lib.instances.scoring")


def read_by(name):
    """The records that a notebook reads: this build's and the recorded ones."""
    build = [f"{EXECUTED}/{other}.ipynb" for other in READERS.get(name, [])]
    return build + sorted(Path("data/recorded").glob("*.json" if build else f"{name}*.json"))


rule book:
    input:
        [f"{EXECUTED}/{name}.ipynb" for name in CHAPTERS],
        "_config.yml",
        "_toc.yml",
        [f"book/_static/vendor/{name}" for name in VENDORED],
        "book/_static/built/planes.svg",
        WRITTEN,
        [str(path) for path in Path("repmatch_lib").rglob("*.py")],  # the reference is made of their docstrings
    output:
        "_build/html/index.html",
    params:
        # Where the pages' buttons lead: see book/_ext/launch.py.
        address=[os.environ.get(f"REPMATCH_{part}", "") for part in ("REPOSITORY", "BRANCH")],
        read="_build/.doctrees/environment.pickle",
    log:
        "_build/book.log",
    shell:
        "[ -f {params.read} ] && [ -z \"$(find {FRAME} -newer {params.read} -name '*.*' -not -name '*.pyc')\" ]"
        " || (mkdir -p _build/html; find _build/html -mindepth 1 -maxdepth 1 -not -name slides -exec rm -rf {{}} +;"
        " rm -rf _build/.doctrees);"
        " jupyter-book build . --path-output . -W -n --keep-going > {log} 2>&1"
        # Pages that were read stay read: a second try would not see their warnings.
        " || (grep -a -E 'WARNING|ERROR' {log}; tail -n 40 {log}; rm -rf {output} _build/.doctrees; exit 1)"


rule prepare:
    output:
        touch(PREPARED),
    params:
        names=CHAPTERS,
        profile=PROFILE,
    threads: workflow.cores
    shell:
        "repmatch prepare {params.names} --profile {params.profile}"


# For a cluster: everything the notebooks need, each a job of its own; "prepare" then finds it in the store.
rule requests:
    input:
        made(REQUESTS.values()),


rule request:
    input:
        lambda wildcards: made(REQUESTS[wildcards.key].needs),
    output:
        STORE / "runs" / "{key}.json",
    params:
        request=lambda wildcards: REQUESTS[wildcards.key].to_json(),
        code=lambda wildcards: REQUESTS[wildcards.key].code,
    threads: 1
    shell:
        "repmatch train {params.request:q} --out {output}"


rule shard:
    output:
        touch(f"{SCORES}/shard-{{k}}-of-{SHARDS}.done"),
    params:
        options=config.get("score", ""),
        code=scoring_code,
    threads: 1
    shell:
        f"repmatch score {{params.options}} --out {SCORES} --shard {{wildcards.k}}/{SHARDS} --threads {{threads}}"


rule scores:
    input:
        [f"{SCORES}/shard-{k}-of-{SHARDS}.done" for k in range(1, SHARDS + 1)],
    output:
        f"{SCORES}/scores.parquet",
    shell:
        f"repmatch gather {SCORES}"


rule notebook:
    input:
        PREPARED,
        "notebooks/{name}.ipynb",
        lambda wildcards: read_by(wildcards.name),
    output:
        f"{EXECUTED}/{{name}}.ipynb",
    params:
        values=lambda wildcards: VALUES[wildcards.name],
        code=whole_version(),
        profile=PROFILE,
    threads: 1
    shell:
        "repmatch run {wildcards.name} --profile {params.profile} --out {output} --prepared"


rule slides:
    input:
        ancient("_build/html/index.html"),  # they lie beside the pages, and hold nothing of them
        [f"{EXECUTED}/{name}.ipynb" for name in CHAPTERS],
        sorted(Path("data/recorded").glob("*.json")),
        "book/slides.yaml",
        "book/tools/slides.py",
        "book/tools/slides.html.j2",
    output:
        "_build/html/slides/lecture.html",
        "_build/html/slides/talk.html",
    shell:
        "python book/tools/slides.py"


# Asked for by name only: it needs a browser.
rule pdf:
    input:
        "_build/html/index.html",
        "book/tools/pdf.py",
        "book/tools/pdf.html.j2",
    output:
        "_build/repmatch.pdf",
    shell:
        "python book/tools/pdf.py {output}"


rule vendored:
    input:
        "package-lock.json",
    output:
        [f"book/_static/vendor/{name}" for name in VENDORED],
    params:
        copies=" && ".join(f"cp node_modules/{path} book/_static/vendor/{name}" for name, path in VENDORED.items()),
    shell:
        "npm ci --silent --no-audit --no-fund && mkdir -p book/_static/vendor/reveal && {params.copies}"


rule planes:
    input:
        "book/planes.py",
        "book/playground.md",
    output:
        "book/_static/built/planes.svg",
    shell:
        "python book/planes.py {output}"
