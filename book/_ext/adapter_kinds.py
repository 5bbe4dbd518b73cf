"""Sphinx extension: which adapters are compared, where a page says ``<!-- kinds of adapters -->``.

The table is made of the lists by which the library decides.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from repmatch_lib.similarity.plain_lora import COMPARED, OTHER_STARTS, REFUSED, STARTS

MARK = "<!-- kinds of adapters -->"


def table() -> str:
    """Options and starts of PEFT's LoRA, compared or refused."""
    rows = [("compared", ", ".join(f"`{name}`" for name in names), what) for what, names in COMPARED.items()]
    rows += [("compared", f"`init_lora_weights`: {start}", reason) for start, reason in STARTS.items()]
    rows += [("refused", f"`{option}`", reason) for option, reason in REFUSED.items()]
    rows += [("refused", f"`init_lora_weights`: {start}", reason) for start, reason in OTHER_STARTS.items()]
    rows += [("refused", "an option that is not in this table", "what it adds to the weights is not known")]
    return "\n".join(["| | PEFT's option | |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def put(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the table in the place of its mark."""
    source[0] = source[0].replace(MARK, table())


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", put)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
