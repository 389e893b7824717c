"""Assign the units of an A/B test to variants by GrowthBook's public scheme, which other languages can reproduce.

A unit falls into one of 10,000 buckets by FNV-1a of 32 bits, applied twice (GrowthBook's hash version 2). The variants
share the buckets by their weights, each from the start of its share; a coverage below 1 leaves out the rest of each
share, so that units that take part still do when the coverage grows. Text is hashed as its UTF-8 bytes. Weights are
summed from the first to the last, each sum rounded to a double, which is the default in every language.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from modelward._given import check_given
from modelward.abtest import AbNamespace, AbTest, Assignment, Variant
from modelward.errors import FieldViolation, InvalidField

BUCKETS = 10_000
NAMESPACE_BUCKETS = 1_000
MAX_UNIT_CHARACTERS = 256
OFFSET_BASIS, PRIME, WORD = 2_166_136_261, 16_777_619, 0xFFFFFFFF


def assign(test: AbTest, unit: str) -> Assignment:
    """Return the variant that a unit gets; the same unit always gets the same one.

    A unit that takes no part gets the control, as does every unit of a shadow test. In a concluded test every unit gets
    the chosen variant.

    Args:
        test: the test, as returned by `get_ab_test`.
        unit: the unit, such as an account's number as text; 1 to 256 characters.

    Returns:
        The variant, whether the unit takes part, and its bucket.

    Raises:
        InvalidField: the unit is not text of 1 to 256 characters, or the test is none.
    """
    check_given("test", test, AbTest)
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

    Args:
        unit: the unit.
        field: the name of the argument in error messages.

    Raises:
        InvalidField: the unit is not text of 1 to 256 characters, or has a lone surrogate or the character NUL.
    """
    if not isinstance(unit, str):
        fix = f"is a unit of type {type(unit).__name__}; give it as text, a number as str(number)"
        raise InvalidField(FieldViolation(field, fix))
    if not 0 < len(unit) <= MAX_UNIT_CHARACTERS:
        fix = f"must have from 1 to {MAX_UNIT_CHARACTERS} characters, not {len(unit)}"
        raise InvalidField(FieldViolation(field, fix))
    if "\0" in unit:
        raise InvalidField(FieldViolation(field, "must not contain the character NUL (U+0000)"))
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
    """Return the bucket of a unit.

    Args:
        salt: the test's salt.
        unit: the unit.

    Returns:
        The bucket, from 0 to 9,999.

    Examples:
        >>> bucket("foo", "def")
        2019
    """
    return fnv1a_32(str(fnv1a_32(salt + unit))) % BUCKETS


def in_namespace(unit: str, namespace: AbNamespace) -> bool:
    """Return whether a unit belongs to a share of a namespace.

    Args:
        unit: the unit.
        namespace: the namespace, with the share's start and end.

    Returns:
        Whether it belongs to the share.
    """
    place = fnv1a_32(f"{unit}__{namespace.name}") % NAMESPACE_BUCKETS / NAMESPACE_BUCKETS
    return namespace.start <= place < namespace.until


def ranges(weights: Sequence[float], coverage: float) -> Iterator[tuple[float, float]]:
    """Yield each variant's share of the buckets.

    Args:
        weights: the variants' weights, each above 0.
        coverage: the share of the units that take part, from 0 to 1.

    Returns:
        The start of each share, and its end, which is excluded; both from 0 to 1.

    Examples:
        >>> list(ranges([1.0, 3.0], coverage=0.5))
        [(0.0, 0.125), (0.25, 0.625)]
    """
    *_, total = accumulate(weights)  # `sum` compensates its rounding since Python 3.12, which would change assignments.
    shares = [weight / total for weight in weights]
    for start, share in zip(accumulate(shares, initial=0.0), shares, strict=False):
        yield start, start + coverage * share


def fnv1a_32(text: str) -> int:
    """Return the FNV-1a hash of a text, with 32 bits.

    Args:
        text: the text, which is hashed as UTF-8.

    Returns:
        The hash, from 0 to 2**32 - 1.

    Examples:
        >>> fnv1a_32("hello")
        1335831723
    """
    value = OFFSET_BASIS
    for byte in text.encode():
        value = (value ^ byte) * PRIME & WORD
    return value
