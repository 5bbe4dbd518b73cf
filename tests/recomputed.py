"""Estimates that claims use, worked out again from a record's own rows, without the library's statistics."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

import repmatch_lib as rm

Interval = tuple[float, float, float]


def left_out(units: Sequence[float], statistic: Callable[[set[float]], float]) -> Interval:
    """A statistic with its interval from leaving out one unit at a time."""
    value, n = statistic({*units}), len(units)
    values = np.array([statistic({*units} - {unit}) for unit in units])
    half = t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * np.square(values - values.mean()).sum())
    return value, value - half, value + half


def student(differences: pd.Series) -> Interval:
    half = t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    return differences.mean(), differences.mean() - half, differences.mean() + half


def rows(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Rows with these values; None stands for what is left out."""
    for column, value in wanted.items():
        known = table[column] if column in table else pd.Series(np.nan, table.index)
        table = table[known.isna() if value is None else known == value]
    return table


def by_seed(table: pd.DataFrame, scale: float = 100, **wanted: object) -> pd.Series:
    chosen = rows(table, **wanted).set_index("seed").value
    assert len(chosen) and chosen.index.is_unique
    return scale * chosen


def between(table: pd.DataFrame, pair: str, seeds: set[float], column: str = "score") -> float:
    """Mean over the pairs of two tasks, in either order, under these seeds."""
    a, b = pair.split("|")
    told = [
        value
        for one, other, i, j, value in zip(table.a, table.b, table.seed_a, table.seed_b, table[column], strict=True)
        if {one, other} == {a, b} and {i, j} <= seeds
    ]
    return float(np.mean(told))


def seeds_of(table: pd.DataFrame) -> list[float]:
    return sorted({*table.seed_a, *table.seed_b})


def of_pairs(table: pd.DataFrame, name: str) -> Interval:
    first, _, second = name.partition(" - ")
    if "head_a" in table:  # each run under a head of its own
        return of_runs(table, first, second)
    return left_out(
        seeds_of(table),
        lambda kept: between(table, first, kept) - (between(table, second, kept) if second else 0),
    )


def of_runs(table: pd.DataFrame, first: str, second: str) -> Interval:
    """Student's interval over heads for a difference; on the logit's scale, by leaving out a head, for a score."""
    heads = sorted(table.head_a.unique())
    assert (table.head_a == table.head_b).all()

    def mean(pair: str, kept: set[float]) -> float:
        return between(table[table.head_a.isin(kept)], pair, {*seeds_of(table)})

    if second:
        return left_out(heads, lambda kept: mean(first, kept) - mean(second, kept))
    value = mean(first, {*heads})
    scale = [np.log(p / (1 - p)) for p in (mean(first, {*heads} - {head}) for head in heads)]
    middle, n = np.log(value / (1 - value)), len(heads)
    half = t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * np.square(np.array(scale) - np.mean(scale)).sum())
    return value, 1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle))


def of_baseline(table: pd.DataFrame, name: str) -> Interval | None:
    if not name.startswith("repmatch"):
        return None
    pairs, percent = rows(table, kind="repmatch"), lambda pair, kept: 100 * between(pairs, pair, kept)
    if name.startswith("repmatch others - "):
        others = [f"snli|{task}" for task in ("snli", "mnli", "hans", "sst2")]
        return left_out(
            seeds_of(pairs), lambda kept: min(percent(o, kept) for o in others) - percent("snli|stsb", kept)
        )
    parts = [part.removeprefix("repmatch ") for part in name.split(" - ")]
    parts = [part if "|" in part else f"snli|{part}" for part in parts]
    return left_out(
        seeds_of(pairs), lambda kept: percent(parts[0], kept) - (percent(parts[1], kept) if parts[1:] else 0)
    )


def of_matrices(table: pd.DataFrame, name: str) -> Interval:
    module, value = name.split(" - ")

    def mean(which: str, kept: set[float]) -> float:
        chosen = rows(table[table.a != table.b], module=which)
        chosen = chosen[chosen.seed_a.isin(kept) & chosen.seed_b.isin(kept)]
        return float(np.mean([part.score.mean() for _, part in chosen.groupby(["a", "b"])]))

    return left_out(seeds_of(table), lambda kept: mean(module, kept) - mean(value, kept))


def over_targets(table: pd.DataFrame, differences: pd.Series) -> Interval:
    """Mean of one value a seed, leaving out one target with all its runs at a time."""
    if "target" not in table:  # one a run
        return student(differences)
    targets = table.drop_duplicates("seed").set_index("seed").target[differences.index]
    return left_out(sorted(targets.unique()), lambda kept: float(differences[targets.isin(kept)].mean()))


def of_best_hundred(table: pd.DataFrame, name: str) -> Interval | None:
    task, _, rest = name.partition(": ")
    task, _, method = task.partition(" ")
    # Targets that are not the chapter's own are beside the point: of other rates, steps or pools.
    others = {name: None for name in ("pool", "among", "step") if name in table}
    others |= {"target_lr": table.target_lr.mode()[0]} if "target_lr" in table else {}

    def arm(rule: str, balance: str | None = None, method: str = "full") -> pd.Series:
        return by_seed(table, task=task, rule=rule, balance=balance, method=method, **others)

    if not rest:
        return over_targets(table, arm("top", method=method or "full") - arm("random", method=method or "full"))
    if rest == "random less random of full":
        return over_targets(table, arm("random", method="lora") - arm("random"))
    if rest == "balanced: top less random":
        return over_targets(table, arm("top", "label") - arm("random", "label"))
    if rest == "classes of the top, drawn at random, less random":
        return over_targets(table, arm("random", "top") - arm("random"))
    return None


def of_ranks(table: pd.DataFrame, name: str) -> Interval:
    task, one, other = re.fullmatch(r"(\w+): rank (\d+) - rank (\d+)", name).groups()
    return over_targets(table, by_seed(table, task=task, rank=int(one)) - by_seed(table, task=task, rank=int(other)))


def of_ways(column: str) -> Callable[[pd.DataFrame, str], Interval | None]:
    def interval(table: pd.DataFrame, name: str) -> Interval | None:
        if not (match := re.fullmatch(r"(\w+): (.+) less ([^,]+)", name)):  # what follows a comma is another measure
            return None
        # Some records hold budgets beside the chapter's own, which is that of every way.
        budget = rows(table, **{column: "SemDeDup"}).get("instances")
        more = {"instances": budget.iloc[0]} if budget is not None and len(budget) else {}
        one, other = (by_seed(table, task=match[1], **{column: way}, **more) for way in match.groups()[1:])
        return over_targets(table, one - other)

    return interval


def of_sizes(table: pd.DataFrame, name: str) -> Interval:
    sizes = sorted(table.instances.unique())

    def gap(k: int, kept: set[float]) -> float:
        top, random = (by_seed(table, way=way, instances=k) for way in ("top", "random"))
        return float((top - random)[sorted(kept)].mean())

    units = "target" if "target" in table else "seed"
    seeds = {unit: {*of_unit.seed} for unit, of_unit in table.groupby(units)}

    def over(statistic: Callable[[set[float]], float]) -> Interval:
        return left_out(sorted(seeds), lambda kept: statistic(set().union(*(seeds[unit] for unit in kept))))

    def lowest(way: str, k: int) -> float:
        """Lower end of the accuracy, on the logit's scale."""
        right = by_seed(table, 1, way=way, instances=k)
        means = np.array([right.mean(), *(right.drop([*runs]).mean() for runs in seeds.values())])
        odds, n = np.log(means / (1 - means)), len(seeds)
        half = t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * np.square(odds[1:] - odds[1:].mean()).sum())
        return 1 / (1 + np.exp(half - odds[0]))

    def learns(k: int) -> bool:
        return max(lowest(way, k) for way in ("top", "random")) > table.constant.iloc[0]

    if "constant" in table:
        sizes = [k for k in sizes if learns(k)]
    if name == "smallest gap below 400":
        return over(lambda kept: min(gap(k, kept) for k in sizes if k < 400))
    return over(lambda kept: gap(sizes[0], kept) - gap(sizes[-1], kept))


def of_transfer(table: pd.DataFrame, name: str) -> Interval | None:
    if name != "gain, one kind less two kinds":
        return None
    means = table.groupby(["seed", "same_kind"]).gain.mean().unstack()
    return student(means[True] - means[False])


def of_starts(table: pd.DataFrame, name: str) -> Interval:
    rate = rows(table, side="shuffled").lr.iloc[0]  # the chapter's own
    own = rows(table, lr=rate)
    question, _, less = name.partition(" - ")
    bound = float(rm.chance_scores(384, 4, 4, len(own.layers.iloc[0])).quantile(0.95)) if less else 0.0
    if question == "other heads":
        other = own[(own.side == "left") & (own.head_a != own.head_b) & (own.seed_a != own.seed_b)]
        heads = sorted({*other.head_a, *other.head_b})
        return left_out(
            heads, lambda kept: other[other.head_a.isin(kept) & other.head_b.isin(kept)].score.mean() - bound
        )
    of_first = own[(own.head_a == own.head_a.min()) & (own.head_b == own.head_b.min())]
    chosen = rows(of_first, side="shuffled" if question == "shuffled" else "left")
    return left_out(
        seeds_of(chosen), lambda kept: chosen[chosen.seed_a.isin(kept) & chosen.seed_b.isin(kept)].score.mean() - bound
    )


def of_measures(table: pd.DataFrame, name: str) -> Interval | None:
    if not (match := re.fullmatch(r"tuned on (.+) - published (cls|mean): (.+)", name)):
        return None
    task, pooling, measure = match.groups()
    tuned = rows(table, kind="measure", space=f"tuned on {task}", pooling=pooling, measure=measure)
    published = rows(table, kind="measure", space="published", pooling=pooling, measure=measure)
    return student(tuned.set_index("seed").value - published.value.item())


def of_instances(table: pd.DataFrame, name: str) -> Interval | None:
    if name not in ("same instance", "other instance"):
        return None
    means = table[table["instance"].notna() & (table.kind == name)].score.to_numpy()
    n = len(means)
    if name == "same instance":
        return student(pd.Series(means))
    # A pair's score is in the means of both of its instances; without one of them, all of its pairs are gone.
    whole = means.sum() * (n - 1) / 2
    left = (whole - (n - 1) * means) / ((n - 1) * (n - 2) / 2)
    half = t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * np.square(left - left.mean()).sum())
    return means.mean(), means.mean() - half, means.mean() + half


def of_overlap(table: pd.DataFrame, name: str) -> Interval | None:
    if " share " in name:  # counts of rows, with the interval of counts
        return None
    corpus, _, question = name.partition(" ")
    scores = table[(table.corpus == corpus) & table.score.notna()]
    seeds = sorted({*scores.seed, *scores.target_seed.dropna()})

    def mean(group: str, target: str, kept: set[float]) -> float:
        chosen = rows(scores, group=group, target=target)
        return float(chosen[chosen.seed.isin(kept) & chosen.target_seed.isin(kept)].score.mean())

    if match := re.fullmatch(r"full - (mid|no)", question):
        return left_out(seeds, lambda kept: mean("full", "HANS", kept) - mean(match[1], "HANS", kept))
    if match := re.fullmatch(r"full - others(, .+)?", question):
        others = [f"{group}{match[1] or ''}" for group in ("mid", "no")]
        return left_out(
            seeds, lambda kept: mean("full", "HANS", kept) - max(mean(other, "HANS", kept) for other in others)
        )
    rest = ("subsequence", "constituent")
    return left_out(
        seeds,
        lambda kept: mean("full", "lexical_overlap", kept) - max(mean("full", other, kept) for other in rest),
    )


def of_shares(table: pd.DataFrame, name: str) -> Interval | None:
    if not (match := re.fullmatch(r"share, (\w+) less (\w+)", name)):
        return None
    one, other = (rows(table, part="share", of=factor).groupby("replicate").share.mean() for factor in match.groups())
    return student(one - other)


def of_full(table: pd.DataFrame, name: str) -> Interval | None:
    if name != "LoRA with full, one task less two":
        return None
    seeds = sorted({*table.lora_seed.dropna(), *table.full_seed.dropna()})

    def mean(same: bool, kept: set[float]) -> float:
        chosen = table[table.lora_seed.isin(kept) & table.full_seed.isin(kept) & ((table.a == table.b) == same)]
        return float(chosen.score.mean())

    return left_out(seeds, lambda kept: mean(True, kept) - mean(False, kept))


def of_layers(table: pd.DataFrame, name: str) -> Interval | None:
    question, rank, what = re.fullmatch(r"(\w+), rank (\d+)[:,] (.+)", name).groups()
    if question != "kind":
        return None
    chosen = table[(table["rank"] == int(rank)) & ~table.same_task]
    unit = "head" if "head_a" in table else "seed"

    def ahead(side: str, way: str, kept: set[float]) -> float:
        of_side = rows(chosen, side=side)
        of_side = of_side[of_side[f"{unit}_a"].isin(kept) & of_side[f"{unit}_b"].isin(kept)]
        one, two = of_side[of_side.same_kind][way].to_numpy(), of_side[~of_side.same_kind][way].to_numpy()
        return float(((one[:, None] > two) + 0.5 * (one[:, None] == two)).mean())

    first, second = what.split(" - ")
    arms = [("left", way) if way in table else (way, "mean") for way in (first, second)]
    units = sorted({*chosen[f"{unit}_a"], *chosen[f"{unit}_b"]})
    return left_out(units, lambda kept: ahead(*arms[0], kept) - ahead(*arms[1], kept))


AGAIN = {
    "instance_robustness": of_instances,
    "hans_overlap": of_overlap,
    "batches": of_shares,
    "full_finetuning": of_full,
    "layers": of_layers,
    "dataset_heatmaps": of_pairs,
    "cls_baseline": of_baseline,
    "attention_matrices": of_matrices,
    "top100_selection": of_best_hundred,
    "rank_effect": of_ranks,
    "semdedup": of_ways("way"),
    "better_selection": of_ways("selection"),
    "subset_size": of_sizes,
    "transfer": of_transfer,
    "seed_robustness": of_starts,
    "embedding_quality": of_measures,
}


# Of records whose rows have four digits: an order of two scores may turn, a mean moves by their rounding.
ROUNDED = {"layers": 3e-3, "batches": 1e-4, "full_finetuning": 2e-4}


def worked_out_again(record: rm.Record) -> list[str]:
    """Names of a record's estimates that claims use and that its rows give again; fails where they give another."""
    asked = [c.estimate for c in rm.claims() if c.experiment == record.experiment and c.estimate in record.estimates]
    compared = []
    for name in asked:
        if again := AGAIN[record.experiment](record.table, name):
            found = record.estimates[name]
            np.testing.assert_allclose(
                (found.value, found.low, found.high), again, 1e-4, ROUNDED.get(record.experiment, 1e-6), err_msg=name
            )
            compared.append(name)
    return compared
