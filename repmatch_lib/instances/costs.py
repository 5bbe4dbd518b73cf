"""What scoring an instance costs, counted in floating-point operations of matrix products.

For the benchmark that the book's chapter on performance shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def instance_flops(config: PreTrainedConfig, tokens: int, one_row: bool = True) -> int:
    """Operations of one instance's first step, with LoRA on every value matrix.

    Counted is what `engine` computes: the forward pass; gradients of activations down to the lowest value matrix, and
    none of weights; in the last block only the row that the head reads, with the keys and values of all. Left out are
    LoRA's thin products, the head, and everything elementwise: about a hundredth.

    Parameters
    ----------
    config : PreTrainedConfig
        Of a BERT-, ELECTRA- or LLaMA-like encoder.
    tokens : int
        Of the instance.
    one_row : bool
        Whether the head reads one row (classification, regression) or all (spans).

    Returns
    -------
    int
        A multiplication and an addition count as two.

    Raises
    ------
    ValueError
        If the encoder has fewer than two layers.
    """
    width, layers, T = config.hidden_size, config.num_hidden_layers, tokens
    if layers < 2:
        raise ValueError(f"the encoder has {layers} layer: what is counted holds for two and more")
    inner = width // config.num_attention_heads * config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    keys = inner * shared // config.num_attention_heads
    gated = getattr(config, "hidden_act", "") == "silu"
    rows = 1 if one_row else T

    query, value, output = width * inner, width * keys, inner * width
    feed_forward = (3 if gated else 2) * width * config.intermediate_size
    by_row = query + output + feed_forward  # what a token's own row needs; keys and values serve the other rows
    products = 2 * inner * T  # of one row's scores, and as many of its weighted sum

    block = 2 * T * (by_row + 2 * value) + T * 2 * products
    last = 2 * rows * by_row + 2 * T * 2 * value + rows * 2 * products
    forward = (layers - 1) * block + last
    # Backwards an attention product costs two. The lowest block gives only its values' gradient.
    block_back = 2 * T * (by_row + 2 * value) + T * 4 * products
    last_back = 2 * rows * by_row + 2 * T * 2 * value + rows * 4 * products
    lowest_back = 2 * T * (output + feed_forward) + T * products
    return forward + (layers - 2) * block_back + last_back + lowest_back


def projected_hours(config: PreTrainedConfig, tokens: float, instances: int, peak: float, share: float) -> float:
    """Hours to score a corpus on a device, by counting: a projection, not a measurement.

    Parameters
    ----------
    config : PreTrainedConfig
    tokens : float
        Mean tokens of an instance.
    instances : int
    peak : float
        The device's operations a second in the precision used.
    share : float
        Share of the peak that is reached, in (0, 1].
    """
    return instances * instance_flops(config, round(tokens)) / (peak * share) / 3600
