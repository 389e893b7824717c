"""Everything public of the SDK is documented: each parameter, each result, each field."""

import pytest

from tests.support.docstrings import (
    constructed_classes,
    described_values,
    methods,
    named_values,
    public_classes,
    public_functions,
    undocumented,
    undocumented_constructor,
)

CLASSES = public_classes()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_method_documents_its_parameters_its_result_and_what_it_raises(cls: type) -> None:
    assert (cls.__doc__ or "").strip()
    assert [line for name, one in methods(cls) for line in undocumented(one, f"{cls.__name__}.{name}")] == []


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if named_values(cls)], ids=lambda cls: cls.__name__)
def test_every_field_and_every_member_of_an_enumeration_is_documented(cls: type) -> None:
    assert set(named_values(cls)) - described_values(cls) == set()


@pytest.mark.parametrize("cls", constructed_classes(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_constructor_documents_its_parameters(cls: type) -> None:
    assert list(undocumented_constructor(cls)) == []


def test_every_function_documents_its_parameters_its_result_and_what_it_raises() -> None:
    assert [line for function in public_functions() for line in undocumented(function, function.__name__)] == []
