"""The matrices that an adapter adapts: which factors belong to which, and where each stands in its model.

One model's parts have several names: under another head, wrapped for training on several devices, or saved by another
version of transformers. A place is what all of these have in common.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# One attention matrix, as the model families name it. PEFT matches the same names by suffix.
MODULES = {
    "query": ("query", "q_proj", "q_lin"),
    "key": ("key", "k_proj", "k_lin"),
    "value": ("value", "v_proj", "v_lin"),
    "output": ("attention.output.dense", "o_proj", "out_lin", "out_proj"),
}

_FACTOR = re.compile(r"(?P<path>.+)\.lora_(?P<factor>[AB])(\.(?P<adapter>[^.]+))?\.weight")
# Factors of matrices and of embeddings, and what VeLoRA's training keeps, which adds nothing to the weights.
_KNOWN = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_velora_embed")
_WRAPPERS = {"_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"}
# Words that say how a model is built up, and not which of its parts this is.
_STRUCTURE = {"base_model", "model", "module", "encoder", "layers", "layer", "block", "blocks", "h"}
_ATTENTION = {"attention", "attn", "self", "self_attn", "self_attention", "SelfAttention"}
_TOWER = re.compile("decoder|vision|visual|image|video|text|language|audio|speech")


@dataclass(frozen=True)
class Matrix:
    """One adapted matrix.

    Attributes
    ----------
    name : str
        Of the layer and the matrix in the model, of an expert with its number in brackets.
    A : Tensor, shape (r, in)
    B : Tensor, shape (out, r)
    """

    name: str
    A: Tensor
    B: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Width of the outputs and of the inputs."""
        return self.B.shape[0], self.A.shape[1]

    @property
    def rank(self) -> int:
        """Of the factors."""
        return self.A.shape[0]

    @property
    def trained(self) -> bool:
        """Whether it holds an update. NaN counts as one, so that it is found."""
        return bool(self.A.any() and self.B.any())


def adapted_matrices(tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str) -> list[Matrix]:
    """All adapted matrices of a PEFT state dict, in the model's order.

    Factors of a convolution are flattened as PEFT multiplies them; each expert of a parameter that holds several
    (``target_parameters``) is a matrix.

    Raises
    ------
    ValueError
        If the tensors are of several adapters, of another method, empty, or a factor is missing.
    """
    found: dict[str, dict[str, Tensor]] = {}
    owners = set()
    for key, tensor in tensors.items():
        if others := [part for part in key.split(".") if part.startswith("lora_") and part not in _KNOWN]:
            raise ValueError(f"{name} holds {others[0]} ({key}), which plain LoRA has not: its update is not B @ A")
        if match := _FACTOR.fullmatch(key):
            if not tensor.numel():
                raise ValueError(
                    f"{name}: {key} is empty, as DeepSpeed's ZeRO-3 leaves it: gather the weights before saving "
                    "(stage3_gather_16bit_weights_on_model_save)"
                )
            found.setdefault(match["path"], {})[match["factor"]] = tensor
            owners.add(match["adapter"])
    if len(owners) > 1:
        raise ValueError(
            f"{name} holds several adapters, {', '.join(sorted(owner or 'one without a name' for owner in owners))}: "
            "save one of them alone, with save_pretrained(selected_adapters=[...])"
        )
    matrices = []
    for path in sorted(found, key=in_order):
        if found[path].keys() != {"A", "B"}:
            raise ValueError(f"{name}: {path} lacks one of its two factors; save the adapter again")
        matrices += _matrices_of(path, found[path]["A"], found[path]["B"], config, name)
    return matrices


def _matrices_of(path: str, A: Tensor, B: Tensor, config: Mapping[str, Any], name: str) -> list[Matrix]:
    A, B = A.flatten(1), B.flatten(1)
    if A.shape[0] != B.shape[1]:
        raise ValueError(
            f"{name}: the factors of {path} are of rank {A.shape[0]} and {B.shape[1]}, so there is no B @ A: copy the "
            "adapter again; a convolution in groups is not compared"
        )
    owners = [parameter.rpartition(".")[0] for parameter in config.get("target_parameters") or ()]
    plain = ".".join(part for part in path.split(".") if part != "base_layer")
    if not any(f".{plain}".endswith(f".{owner}") for owner in owners):
        return [Matrix(path, A, B)]
    rank = config.get("r")
    if "" in owners or config.get("rank_pattern") or not rank or A.shape[0] % rank:
        raise ValueError(
            f"{name} adapts parameters (target_parameters), and which rows of {path} belong to which expert is not "
            "known: RepMatch reads parameters that are named with their module, of one rank r"
        )
    experts = A.shape[0] // rank
    # As PEFT lays them out: blocks of rows of A, but every so-manieth column of B.
    return [
        Matrix(f"{path}[{k}]" if experts > 1 else path, part, B[:, k::experts])
        for k, part in enumerate(A.chunk(experts))
    ]


def chosen(matrices: Sequence[Matrix], module: str, name: str) -> list[Matrix]:
    """Those of one kind: the matrix' own name or a kind of `MODULES`, after a tower and a colon where there are two.

    Raises
    ------
    ValueError
        If there is none, or they are of several towers.
    """
    tower, _, kind = module.rpartition(":")
    ends = tuple(f".{end}" for end in MODULES.get(kind, (kind,)))
    of_kind = [one for one in matrices if f".{_bare(one.name)}".endswith(ends)]
    # A name such as "dense" is that of layers and of a pooler; the layers are meant.
    of_kind = [one for one in of_kind if _numbered(one.name)] or of_kind
    found = [one for one in of_kind if not tower or any(part.startswith(tower) for part in _head(one.name))]
    if not found:
        there = sorted({kind_of(one.name) for one in matrices})
        towers = sorted({t for one in of_kind for t in _towers(one.name)})
        hint = f"; of the towers {', '.join(towers)}" if tower and towers else ""
        raise ValueError(f"{name} adapts no {module!r} matrix; it adapts {', '.join(there) or 'none'}{hint}")
    # Encoder and decoder are the two halves of one model; a tower of images and one of texts are two models.
    towers_of = {tuple(t for t in _towers(one.name) if "decoder" not in t): one.shape for one in found}
    if len(towers_of) > 1:
        names = ["the rest" if not tower else ".".join(tower) for tower in towers_of]
        widths = " and ".join(f"{n} ({out}x{into})" for n, (out, into) in zip(names, towers_of.values(), strict=True))
        first = next(".".join(tower) for tower in towers_of if tower)
        raise ValueError(
            f"{name} adapts {kind!r} in {len(towers_of)} towers, {widths}: choose one, module='{first}:{kind}' "
            f"(--module {first}:{kind})"
        )
    return found


def paired(names: Sequence[str], others: Sequence[str]) -> list[tuple[int, int]]:
    """Which matrices of two models stand in one place, as pairs of indices in the order of the first.

    The places agree from the first number on. What comes before may lack parts, such as the name of a head, but no
    tower.
    """
    by_rest: dict[tuple[str, ...], list[int]] = {}
    for k, other in enumerate(others):
        by_rest.setdefault(_rest(other), []).append(k)
    pairs = []
    for k, name in enumerate(names):
        same = [o for o in by_rest.get(_rest(name), []) if _head(name) == _head(others[o])]
        alike = same or [o for o in by_rest.get(_rest(name), []) if _one_within_the_other(name, others[o])]
        if len(alike) == 1:
            pairs.append((k, alike[0]))
    return pairs


def kind_of(name: str) -> str:
    """The name of a matrix within its layer, such as ``attention.self.value``, or within its model."""
    parts = _bare(name).split(".")
    last = max((k for k, part in enumerate(parts[:-1]) if part.isdigit()), default=-1)
    return ".".join(parts[last + 1 :] if last >= 0 else [p for p in parts if p not in ("base_model", "model")])


def in_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts names of layers by their numbers as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _bare(name: str) -> str:
    return re.sub(r"\[\d+\]$", "", name)


def _parts(name: str) -> list[str]:
    return [part for part in name.split(".") if part not in _WRAPPERS]


def _numbered(name: str) -> bool:
    return any(part.isdigit() for part in _parts(name)[:-1])


def _split(name: str) -> tuple[list[str], list[str]]:
    parts = _parts(name)
    first = next((k for k, part in enumerate(parts[:-1]) if part.isdigit()), 0)
    return parts[:first], parts[first:]


def _head(name: str) -> list[str]:
    """What stands before the first number, without the words of structure."""
    return [part for part in _split(name)[0] if part not in _STRUCTURE]


def _towers(name: str) -> list[str]:
    return [part for part in _head(name) if _TOWER.search(part)]


def _rest(name: str) -> tuple[str, ...]:
    """What stands from the first number on, in the words that all versions share."""
    rest = ".".join(_split(name)[1])
    for kind, ends in MODULES.items():
        for end in ends:
            if f".{rest}".endswith(f".{end}"):
                rest = f"{rest.removesuffix(end)}{kind}"
    return tuple(part for part in rest.split(".") if part and part not in _STRUCTURE | _ATTENTION)


def _one_within_the_other(name: str, other: str) -> bool:
    shorter, longer = sorted((_head(name), _head(other)), key=len)
    rest = iter(longer)
    within = all(part in rest for part in shorter)
    return within and _towers(name) == _towers(other)
