"""Classes with a few values."""

from __future__ import annotations

from capriccio_patch.contracts.choice import Choice


class Way(Choice):
    HERE = "at once"
    LATER = "in the end"

    _IS_PRIVATE = 1


def test_its_values_are_its_instances() -> None:
    assert isinstance(Way.HERE, Way)
    assert isinstance(Way.LATER, Way)
    assert (Way.HERE.name, Way.HERE.value) == ("HERE", "at once")


def test_they_are_keys() -> None:
    assert {Way.HERE: 1, Way.LATER: 2}[Way.LATER] == 2
    assert Way.HERE != "at once"


def test_they_are_printed_like_those_of_an_enum() -> None:
    assert repr(Way.HERE) == "<Way.HERE: 'at once'>"


def test_what_is_private_is_no_value() -> None:
    assert Way._IS_PRIVATE == 1  # type: ignore[comparison-overlap]
