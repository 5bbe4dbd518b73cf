"""Settings as values: checked when they are made, and a wrong one gets a sentence that names it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

T = TypeVar("T")


def _no_bare_name(names: object) -> object:
    if isinstance(names, str):
        raise ValueError(f"a name alone; give several, or ({names!r},) for this one")
    return names


Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Seeds = tuple[Seed, ...]
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Length = Annotated[int, Field(ge=8)]
Names = Annotated[tuple[str, ...], BeforeValidator(_no_bare_name)]
Precision = Literal["auto", "float32", "bf16"]
Pooling = Literal["cls", "mean"]  # of an encoder's hidden states; see `vectors`
Measure = Literal["repmatch", "cosine"]  # of instances; see `Scoring`
Method = Literal["full", "lora"]  # of fine-tuning; see `fine_tune`


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def checked(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose values must fit their types.

    Raises
    ------
    ValueError
        From the class, for an unknown name or a value that does not fit: one clause a setting.
    """
    checked_class: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid"))(cls)
    build = checked_class.__init__

    @functools.wraps(build)
    def __init__(self: Any, *args: Any, **settings: Any) -> None:
        try:
            build(self, *args, **settings)
        except ValidationError as error:
            known = [field.name for field in dataclasses.fields(checked_class)]
            raise ValueError(in_words(error, known)) from error

    checked_class.__init__ = __init__
    return checked_class


def in_words(error: ValidationError, known: Sequence[str] = ()) -> str:
    """What pydantic found, one clause a setting; ``known`` are the settings that there are."""
    clauses = []
    for mistake in error.errors():
        text = mistake["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        if mistake["type"] == "unexpected_keyword_argument":
            text = f"there is no such setting; there are {', '.join(known)}"
        place = [known[part] if isinstance(part, int) and part < len(known) else str(part) for part in mistake["loc"]]
        clauses.append(f"{'.'.join(place)} = {mistake['input']!r}: {text}")
    return "; ".join(clauses)
