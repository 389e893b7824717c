"""What GrowthBook's own SDKs answer (growthbook/packages/sdk-js/test/cases.json), for every language that assigns."""

HASHES = [
    ("seed", "a", 505),
    ("seed", "b", 2696),
    ("foo", "ab", 2575),
    ("foo", "def", 2019),
    ("89123klj", "8952klfjas09ujkasdf", 1240),
    ("90850943850283058242805", "123", 7516),
    ("()**(%$##$%#$#", '___)((*":&', 128),
]
"""Salt, unit and bucket, by hash version 2."""

NAMESPACES = [
    ("1", "namespace1", False),
    ("1", "namespace2", False),
    ("3", "namespace1", False),
    ("3", "namespace2", True),
]
"""Unit, namespace, and whether the unit belongs to the share from 0 to 0.4; else it belongs to that from 0.4 to 1."""
