"""A chapter's numbers: collected, set beside the recorded run's, shown and kept."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from repmatch_lib.book import tables
from repmatch_lib.book.claims import claims
from repmatch_lib.book.ledger import ledger, recorded
from repmatch_lib.book.records import Record, same_estimates
from repmatch_lib.figures.lines import curves_figure
from repmatch_lib.figures.points import estimates_figure
from repmatch_lib.statistics import Estimate

Point = tuple[str, str, Estimate | float]  # label, kind of number, value
Names = Mapping[str, str] | Iterable[str]  # by label the estimate's name, or names that are labels too


class Chapter:
    """The estimates of one chapter in this build, and in the recorded run where there is one.

    ``chapter["name"] = estimate`` adds one; the methods show them by name, both kinds of number side by side.

    Attributes
    ----------
    experiment : str
        The notebook's name.
    estimates : dict of str to Estimate
        This build's.
    recorded : Record or None
    """

    def __init__(self, experiment: str) -> None:
        self.experiment = experiment
        self.estimates: dict[str, Estimate] = {}
        self.recorded = recorded(experiment)

    def __setitem__(self, name: str, estimate: Estimate) -> None:
        self.estimates[name] = estimate

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def update(self, estimates: Mapping[str, Estimate]) -> None:
        """Add several."""
        self.estimates.update(estimates)

    @property
    def known(self) -> dict[str, dict[str, Estimate]]:
        """Estimates by kind of number, the recorded run's first; a kind without any is left out.

        There is no build of its own where the page is made of the recorded results.
        """
        of_record = self.recorded.estimates if self.recorded else {}
        ours = {} if self.estimates and same_estimates(self.estimates, of_record) else self.estimates
        return {kind: found for kind, found in {"recorded": of_record, "this build": ours}.items() if found}

    def either(self, values: Iterable[Any], *columns: str) -> list[Any]:
        """This build's values, such as tasks, and those that only the recorded run's rows have in some columns."""
        table = self.recorded.table if self.recorded else pd.DataFrame()
        of_record = [value for column in columns if column in table for value in table[column].dropna().unique()]
        return list(dict.fromkeys([*values, *of_record]))

    def named(self, pattern: str) -> list[str]:
        """Names of estimates of either run that match a regular expression as a whole, this build's first."""
        return [
            name
            for name in dict.fromkeys(itertools.chain(self.estimates, *self.known.values()))
            if re.fullmatch(pattern, name)
        ]

    def in_short(self) -> Markdown:
        """What the recorded run says of the chapter's claims; see `tables.in_short`."""
        return tables.in_short(self.experiment)

    def points(self, names: Names) -> list[Point]:
        """Estimates of both runs by label, as figures and tables take them; what neither run has is left out."""
        named = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
        return [
            (label, kind, estimates[name])
            for label, name in named.items()
            for kind, estimates in self.known.items()
            if name in estimates
        ]

    def table(
        self, names: Names, quantity: str = "quantity", spec: str = ".3f", paper: Sequence[Point] = ()
    ) -> Markdown:
        """A line a label, a column a kind of number; the paper's numbers, where given, are points of kind "paper"."""
        points = self.points(names)
        order = dict.fromkeys([*(names if isinstance(names, Mapping) else ()), *(label for label, *_ in points)])
        together = [*paper, *points]
        if paper:
            together.sort(key=lambda point: list(order).index(point[0]) if point[0] in order else -1)
        return tables.points_table(together, quantity, spec)

    def figure(
        self, names: Names, chance: float | None = None, quantity: str = "RepMatch", paper: Sequence[Point] = ()
    ) -> Figure:
        """Estimates with their intervals, one line a label; see `estimates_figure`."""
        return estimates_figure([*paper, *self.points(names)], chance=chance, quantity=quantity)

    def curves(self, lines: Mapping[str, Mapping[float, str] | str], quantity: str, over: str) -> Figure:
        """Estimates against a setting; see `curves_figure`.

        Parameters
        ----------
        lines : mapping of str to mapping of float to str, or to str
            By line its estimates' names by the setting, or the beginning of their names, which the setting follows.
        quantity, over : str
        """
        names = {line: self._by_setting(points) for line, points in lines.items()}
        panels = {
            kind: {
                line: {x: estimates[name] for x, name in points.items() if name in estimates}
                for line, points in names.items()
                if any(name in estimates for name in points.values())
            }
            for kind, estimates in self.known.items()
        }
        return curves_figure(panels, quantity, over)

    def _by_setting(self, points: Mapping[float, str] | str) -> Mapping[float, str]:
        if not isinstance(points, str):
            return points
        names = self.named(re.escape(points) + r"\d+(\.\d+)?")
        return dict(sorted((float(name.removeprefix(points)), name) for name in names))

    def wide(
        self, lines: Mapping[str, Mapping[str, str]], spec: str | Callable[[Estimate], str] = ".3f", first: str = ""
    ) -> Markdown:
        """Several estimates a line: by the line's label, by column, the estimate's name; both runs below each other."""
        show = spec if callable(spec) else (lambda estimate: format(estimate, spec))
        rows = [
            {"run": kind, first: label}
            | {column: show(there[name]) if name in there else "–" for column, name in columns.items()}
            for label, columns in lines.items()
            for kind, estimates in self.known.items()
            if (there := {name: e for name, e in estimates.items() if not math.isnan(e.value)}).keys()
            & columns.values()
        ]
        return tables.as_markdown(rows) if rows else Markdown("Neither run has any.")

    def keep(
        self,
        made: Any,
        rows: pd.DataFrame,
        path: str,
        vectors: Iterable[Any] = (),
        aside: Collection[Any] = (),
        **more: Mapping[str, Any],
    ) -> Record:
        """Save the chapter's record.

        Parameters
        ----------
        made : mapping of Request to result, or sequence of results
            What the numbers rest on; see `Record.of`.
        rows : DataFrame
            Everything behind the estimates, tidy.
        path : str
        vectors : iterable of Corpus
            Rows whose vectors were read without training.
        aside : collection of Request
            Adapters that no claim rests on: what they learned decides nothing.
        **more
            Added to the record's ``parameters``, ``provenance`` or ``measured``.
        """
        record = Record.of(self.experiment, made, self.estimates, rows, aside)
        if read := [data.provenance | {"split": data.split} for data in vectors]:
            more = more | {"provenance": dict(more.get("provenance", {})) | {"vectors": read}}
        added = {field: getattr(record, field) | dict(values) for field, values in more.items()}
        self.kept = dataclasses.replace(record, **added).save(path)
        return self.kept

    def claims(self) -> Markdown:
        """The chapter's lines of the ledger, with verdicts, and what the adapters behind them learned."""
        lines = tables.three_columns(ledger(build=self.kept), self.experiment)
        if not any(claim.rests_on == "adapters" for claim in claims() if claim.experiment == self.experiment):
            return lines
        learned = tables.learned(self.kept).data
        return Markdown(f"{lines.data}\n\n**Did the adapters learn their task?**\n\n{learned}")

    def running_times(self) -> Markdown:
        """How long the training behind the chapter took, in both runs."""
        return tables.running_times(self.kept)
