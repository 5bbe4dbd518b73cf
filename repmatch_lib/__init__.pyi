"""The public names and where they live: for editors and type checkers, and for the lazy import in `__init__.py`."""

from .book.chapter import (
    Chapter as Chapter,
)
from .book.claims import (
    claims as claims,
    published_numbers as published_numbers,
    rule_changes as rule_changes,
)
from .book.execution import (
    execution as execution,
    execution_table as execution_table,
    software_table as software_table,
    verification_table as verification_table,
)
from .book.ledger import (
    ledger as ledger,
    recorded as recorded,
)
from .book.records import (
    Record as Record,
)
from .book.tables import (
    changes as changes,
    in_short as in_short,
    points_table as points_table,
    recorded_with as recorded_with,
    rules as rules,
    running_times as running_times,
    state_table as state_table,
    three_columns as three_columns,
)
from .data.corpora import (
    Corpus as Corpus,
    load as load,
)
from .data.overlap_groups import (
    draw as draw,
    group_counts as group_counts,
    word_overlap as word_overlap,
)
from .data.samples import (
    in_pairs as in_pairs,
    load_at_most as load_at_most,
    single_texts as single_texts,
    with_other_labels as with_other_labels,
)
from .data.tasks import (
    TASKS as TASKS,
    Task as Task,
    task as task,
)
from .embeddings.anchor_cosines import (
    AnchorCosines as AnchorCosines,
)
from .embeddings.cosines import (
    Cosines as Cosines,
    cosine_share as cosine_share,
    cosines as cosines,
)
from .embeddings.probes import (
    cluster_scores as cluster_scores,
    k_means as k_means,
    ndcg as ndcg,
    pair_spearman as pair_spearman,
    probe as probe,
    purity as purity,
    reciprocal_ranks as reciprocal_ranks,
)
from .embeddings.quality import (
    alignment as alignment,
    centre as centre,
    coordinates as coordinates,
    effective_rank as effective_rank,
    linear_cka as linear_cka,
    mean_cosine as mean_cosine,
    spectrum as spectrum,
    uniformity as uniformity,
    whiten as whiten,
)
from .embeddings.set_cosines import (
    closest_shares as closest_shares,
    cosine_matrix as cosine_matrix,
    cosine_of_means as cosine_of_means,
    group_means as group_means,
)
from .embeddings.task_distances import (
    linear_transfer as linear_transfer,
    mmd as mmd,
)
from .embeddings.vectors import (
    vectors as vectors,
)
from .embeddings.words import (
    analogies as analogies,
    analogy_questions as analogy_questions,
    intruder_questions as intruder_questions,
    intruders as intruders,
    token_embeddings as token_embeddings,
    token_rows as token_rows,
    word_lists as word_lists,
    word_tests as word_tests,
)
from .experiments.chains import (
    Chain as Chain,
    Outcomes as Outcomes,
    every_request as every_request,
)
from .experiments.changed_settings import (
    setting_estimates as setting_estimates,
)
from .experiments.choices import (
    choice_measures as choice_measures,
    measured_choices as measured_choices,
    own_similarity as own_similarity,
)
from .experiments.design_shares import (
    shares_by_layer as shares_by_layer,
)
from .experiments.designs import (
    SEED_OF as SEED_OF,
    Design as Design,
    passes_of as passes_of,
    shared_rows as shared_rows,
    steps_of as steps_of,
    under_seed as under_seed,
)
from .experiments.duplicate_searches import (
    DuplicateSearch as DuplicateSearch,
    Planted as Planted,
    duplicate_estimates as duplicate_estimates,
    nearest_pairs as nearest_pairs,
    repetition as repetition,
    search_costs as search_costs,
)
from .experiments.encoder_agreement import (
    cosine_order_estimates as cosine_order_estimates,
    kind_estimates as kind_estimates,
    level_estimates as level_estimates,
    order_estimates as order_estimates,
    pair_means as pair_means,
    rank_agreement as rank_agreement,
)
from .experiments.fine_tunings import (
    FineTuning as FineTuning,
)
from .experiments.images import (
    ImageSet as ImageSet,
    image_adapter as image_adapter,
    image_encoder as image_encoder,
    image_set as image_set,
    rotations_named as rotations_named,
)
from .experiments.instance_likeness import (
    InstanceLikeness as InstanceLikeness,
    Instances as Instances,
    Likeness as Likeness,
)
from .experiments.instance_pairs import (
    by_label as by_label,
    over_heads as over_heads,
    over_instances as over_instances,
)
from .experiments.overlap_scores import (
    described as described,
    group_shares as group_shares,
    overlap_estimates as overlap_estimates,
    overlap_scores as overlap_scores,
)
from .experiments.pair_scores import (
    chance_estimate as chance_estimate,
    mean_grid as mean_grid,
    mean_layers as mean_layers,
    mean_of_pairs as mean_of_pairs,
    over as over,
    pair_matrix as pair_matrix,
    pair_mean as pair_mean,
    pair_scores as pair_scores,
    pair_title as pair_title,
    rank_correlation as rank_correlation,
    relations as relations,
    same_task_lead as same_task_lead,
    scores_of_all as scores_of_all,
    under_other_seeds as under_other_seeds,
)
from .experiments.pools import (
    Coverage as Coverage,
    Deduplicated as Deduplicated,
    EarlyErrors as EarlyErrors,
    Quoted as Quoted,
)
from .experiments.prediction import (
    QUESTIONS as QUESTIONS,
    Prediction as Prediction,
    gains as gains,
    of_ordered_pairs as of_ordered_pairs,
    one_way_share as one_way_share,
)
from .experiments.published_heads import (
    PublishedHead as PublishedHead,
    published_head as published_head,
)
from .experiments.rankings import (
    Ranking as Ranking,
)
from .experiments.recognition import (
    kind_auc as kind_auc,
    nearest_of_own_task as nearest_of_own_task,
    task_auc as task_auc,
)
from .experiments.runs import (
    FullRun as FullRun,
    Run as Run,
    adapter as adapter,
    grid as grid,
)
from .experiments.sample_curves import (
    curve_estimates as curve_estimates,
    curve_points as curve_points,
    levels_off as levels_off,
)
from .experiments.seed_scores import (
    basis_scores as basis_scores,
    other_seeds as other_seeds,
    over_seeds as over_seeds,
    same_seeds as same_seeds,
    seed_scores as seed_scores,
    stacked_bases as stacked_bases,
)
from .experiments.selections import (
    Selection as Selection,
)
from .experiments.space_tests import (
    SpaceTests as SpaceTests,
)
from .experiments.spaces import (
    EncoderSpaces as EncoderSpaces,
    MeasuredSpaces as MeasuredSpaces,
    anchor_estimates as anchor_estimates,
    in_the_plane as in_the_plane,
    representation_pairs as representation_pairs,
)
from .experiments.transfer import (
    Transfer as Transfer,
    Transferred as Transferred,
    head_rows as head_rows,
    head_vectors as head_vectors,
    refit_head as refit_head,
)
from .figures.lines import (
    curves_figure as curves_figure,
    layer_profile as layer_profile,
    order_figure as order_figure,
    share_curves as share_curves,
    spectrum_figure as spectrum_figure,
)
from .figures.maps import (
    gain_maps as gain_maps,
    grid_panels as grid_panels,
    matrix as matrix,
    matrix_panels as matrix_panels,
    pictures as pictures,
)
from .figures.points import (
    estimates_figure as estimates_figure,
    gain_points as gain_points,
    scatter_panels as scatter_panels,
    times_figure as times_figure,
)
from .instances.costs import (
    instance_flops as instance_flops,
    projected_hours as projected_hours,
)
from .instances.likeness import (
    compared as compared,
    seeds_apart as seeds_apart,
    under_two_heads as under_two_heads,
)
from .instances.scores import (
    Scores as Scores,
    ScoreStore as ScoreStore,
)
from .instances.scoring import (
    Updates as Updates,
    instance_updates as instance_updates,
    score_against_each as score_against_each,
    score_instances as score_instances,
)
from .instances.trainee import (
    Scoring as Scoring,
)
from .selection.coverage import (
    facility_location as facility_location,
    k_centre as k_centre,
    update_similarity as update_similarity,
)
from .selection.duplicates import (
    Duplicates as Duplicates,
    near_duplicates as near_duplicates,
)
from .selection.el2n import (
    el2n as el2n,
)
from .selection.rules import (
    select as select,
)
from .similarity.adapters import (
    Adapter as Adapter,
)
from .similarity.all_pairs import (
    AllPairs as AllPairs,
    compare_all as compare_all,
)
from .similarity.carried import (
    carried as carried,
)
from .similarity.comparison import (
    Comparison as Comparison,
    repmatch as repmatch,
)
from .similarity.layers import (
    layers_together as layers_together,
    update_sizes as update_sizes,
)
from .similarity.subspaces import (
    chance_scores as chance_scores,
    grassmann_similarity as grassmann_similarity,
    lora_basis as lora_basis,
    repmatch_score as repmatch_score,
    shuffled_basis as shuffled_basis,
    thin_basis as thin_basis,
)
from .similarity.variance import (
    projection_products as projection_products,
    variance_shares as variance_shares,
)
from .statistics import (
    Estimate as Estimate,
    bootstrap as bootstrap,
    jackknife as jackknife,
    mean_over as mean_over,
    nested as nested,
    paired as paired,
    percentage as percentage,
    summary as summary,
)
from .store import (
    Store as Store,
)
from .training.encoder_makers import (
    fine_tuned_encoder as fine_tuned_encoder,
    random_encoder as random_encoder,
    shallow_encoder as shallow_encoder,
    tuned_encoder as tuned_encoder,
)
from .training.encoder_variants import (
    encoder as encoder,
    variant as variant,
)
from .training.encoders import (
    Encoder as Encoder,
)
from .training.evaluation import (
    answer_f1 as answer_f1,
    evaluate as evaluate,
)
from .training.fine_tuning import (
    Outcome as Outcome,
    fine_tune as fine_tune,
)
from .training.frozen_weights import (
    frozen_weights as frozen_weights,
)
from .training.full import (
    full_adapter as full_adapter,
    truncated as truncated,
)
from .training.lora import (
    train_adapter as train_adapter,
)
from .training.pairs import (
    train_pair as train_pair,
)
