"""RepMatch: how similar are two sets of training data, judged by what a model learns from each?

The names below are the public interface. They are imported when first used, so that ``import repmatch_lib`` is quick.
"""

import os
from importlib import import_module

# By default oneDNN and torch keep the kernels of 1,024 shapes of batches each, and memory grows with the corpus by
# half a gigabyte; batches come sorted by length, so few shapes are in use at a time. Read at the first product.
for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(cache, "64")

_PUBLIC = {
    "subspaces": [
        "lora_basis",
        "grassmann_similarity",
        "repmatch_score",
        "chance_scores",
        "shuffled_basis",
        "thin_basis",
    ],
    "adapters": ["Adapter"],
    "comparison": ["Comparison", "repmatch"],
    "all_pairs": ["AllPairs", "compare_all"],
    "encoders": ["Encoder"],
    "tasks": ["Task", "TASKS", "task"],
    "corpora": ["Corpus", "load"],
    "training": ["train_adapter"],
    "pairs": ["train_pair"],
    "scoring": ["Scoring"],
    "instances": ["Updates", "instance_updates", "score_instances"],
    "scores": ["Scores", "ScoreStore"],
    "store": ["Store"],
    "costs": ["instance_flops", "projected_hours"],
    "cls_baseline": ["Cosines", "cosine_share", "cosines", "vectors"],
    "semdedup": ["Duplicates", "near_duplicates"],
    "overlap": ["draw", "group_counts", "word_overlap"],
    "runs": ["FullRun", "Run", "adapter", "grid"],
    "coverage": ["facility_location", "k_centre", "update_similarity"],
    "early": ["el2n"],
    "measures": ["Coverage", "EarlyErrors"],
    "selection": ["Deduplicated", "Ranking", "Selection", "select"],
    "finetuning": ["FineTuning", "Outcome"],
    "tuning": ["fine_tune"],
    "full": ["full_adapter", "truncated"],
    "transfer": ["Transfer", "Transferred", "head_rows", "head_vectors", "refit_head"],
    "predictors": ["linear_transfer", "mmd"],
    "evaluation": ["answer_f1", "evaluate"],
    "images": ["ImageSet", "image_set", "image_encoder", "rotations_named", "image_adapter"],
    "variance": ["projection_products", "variance_shares"],
    "variants": ["encoder", "fine_tuned_encoder", "random_encoder", "shallow_encoder", "tuned_encoder", "variant"],
    "embedding_quality": [
        "alignment",
        "uniformity",
        "mean_cosine",
        "spectrum",
        "effective_rank",
        "centre",
        "whiten",
        "linear_cka",
        "coordinates",
    ],
    "probes": ["probe", "k_means", "purity", "cluster_scores", "pair_spearman", "reciprocal_ranks", "ndcg"],
    "words": [
        "analogy_questions",
        "intruder_questions",
        "token_embeddings",
        "token_rows",
        "analogies",
        "intruders",
    ],
    "statistics": ["Estimate", "bootstrap", "jackknife", "mean_over", "paired", "percentage", "summary"],
    "records": ["Record"],
    "published": ["claims", "ledger", "published_numbers", "recorded"],
    "tables": ["beside", "in_short", "points_table", "recorded_with", "rules", "running_times", "three_columns"],
    "status": ["execution", "execution_table", "software_table"],
    "explorer": ["explorer_page"],
    "figures": [
        "curves_figure",
        "estimates_figure",
        "grid_panels",
        "layer_profile",
        "matrix",
        "share_curves",
        "times_figure",
    ],
    "pair_figures": ["matrix_panels", "order_figure"],
    "space_figures": ["pictures", "scatter_panels", "spectrum_figure"],
    "transfer_figures": ["gain_maps", "gain_points"],
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
