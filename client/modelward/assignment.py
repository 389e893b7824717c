"""Assign the units of an A/B test to variants by GrowthBook's public scheme, which other languages can reproduce.

A unit falls into one of 10,000 buckets by FNV-1a of 32 bits, applied twice (GrowthBook's hash version 2). The variants
share the buckets by their weights, each from the start of its share; a coverage below 1 leaves out the rest of each
share, so that units that take part still do when the coverage grows. Text is hashed as its UTF-8 bytes. Weights are
summed from the first to the last, each sum rounded to a double, which is the default in every language.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from modelward.abtest import AbNamespace, AbTest, Assignment, Variant
from modelward.errors import FieldViolation, InvalidField

BUCKETS = 10_000
NAMESPACE_BUCKETS = 1_000
MAX_UNIT_CHARACTERS = 256
OFFSET_BASIS, PRIME, WORD = 2_166_136_261, 16_777_619, 0xFFFFFFFF


def assign(test: AbTest, unit: str) -> Assignment:
    """Return the variant that a unit gets; the same unit always gets the same one.

    A unit that takes no part gets the control, as does every unit of a shadow test. In a concluded test every unit
    gets the chosen variant.

    Raises:
        InvalidField: the unit is not text of 1 to 256 characters.
    """
    check_unit(unit)
    place = bucket(test.salt, unit)
    if test.conclusion is not None:
        return Assignment(test.variant(test.conclusion.winner), False, place)
    dealt = _dealt(test, unit, place)
    if dealt is None or test.shadow:
        return Assignment(test.control, dealt is not None, place)
    return Assignment(dealt, True, place)


def check_unit(unit: object, field: str = "unit") -> None:
    """Reject a unit that the server would not accept.

    Raises:
        InvalidField: naming the field.
    """
    if not isinstance(unit, str):
        fix = f"is a unit of type {type(unit).__name__}; give it as text, a number as str(number)"
        raise InvalidField(FieldViolation(field, fix))
    if not 0 < len(unit) <= MAX_UNIT_CHARACTERS:
        fix = f"must have from 1 to {MAX_UNIT_CHARACTERS} characters, not {len(unit)}"
        raise InvalidField(FieldViolation(field, fix))
    if any("\ud800" <= character <= "\udfff" for character in unit):
        raise InvalidField(FieldViolation(field, "contains a lone surrogate, which is not a character"))


def _dealt(test: AbTest, unit: str, place: int) -> Variant | None:
    if test.namespace is not None and not in_namespace(unit, test.namespace):
        return None
    shares = ranges([variant.weight for variant in test.variants], test.coverage)
    dealt = (variant for variant, (start, end) in zip(test.variants, shares, strict=True) if _holds(start, end, place))
    return next(dealt, None)


def _holds(start: float, end: float, place: int) -> bool:
    return start <= place / BUCKETS < end


def bucket(salt: str, unit: str) -> int:
    """Return the bucket of a unit, from 0 to 9,999."""
    return fnv1a_32(str(fnv1a_32(salt + unit))) % BUCKETS


def in_namespace(unit: str, namespace: AbNamespace) -> bool:
    """Return whether a unit belongs to a share of a namespace."""
    place = fnv1a_32(f"{unit}__{namespace.name}") % NAMESPACE_BUCKETS / NAMESPACE_BUCKETS
    return namespace.start <= place < namespace.until


def ranges(weights: Sequence[float], coverage: float) -> Iterator[tuple[float, float]]:
    """Yield each variant's share of the buckets, from its start up to but excluding its end."""
    *_, total = accumulate(weights)  # `sum` compensates its rounding since Python 3.12, which would change assignments.
    shares = [weight / total for weight in weights]
    for start, share in zip(accumulate(shares, initial=0.0), shares, strict=False):
        yield start, start + coverage * share


def fnv1a_32(text: str) -> int:
    """Return the FNV-1a hash of a text, with 32 bits."""
    value = OFFSET_BASIS
    for byte in text.encode():
        value = (value ^ byte) * PRIME & WORD
    return value
