"""Every quality has the name that the OPC UA specification gives it, or its code."""

from __future__ import annotations

from asyncua.ua.status_codes import code_to_name_doc

from connectors.model import quality
from connectors.model.quality import code_of, name_of
from connectors.model.status_names import STATUS_NAMES


def test_every_status_code_that_the_specification_names_is_shown_by_its_name() -> None:
    assert {code << 16: name for code, name in STATUS_NAMES.items()} == {
        code: name for code, (name, _) in code_to_name_doc.items()
    }
    assert (name_of(0x8035), code_of(0x8035)) == ("BadAttributeIdInvalid", "0x80350000")


def test_a_code_without_a_name_is_shown_with_its_severity() -> None:
    assert name_of(0x8FFF) == "Bad (0x8FFF0000)"
    assert name_of(0x4FFF) == "Uncertain (0x4FFF0000)"
    assert name_of(0x0FFF) == "Good (0x0FFF0000)"


def test_the_qualities_that_drivers_give_are_called_what_the_specification_calls_them() -> None:
    constants = {name: code for name, code in vars(quality).items() if name.isupper() and isinstance(code, int)}
    assert len(constants) > 10
    for name, code in constants.items():
        assert STATUS_NAMES[code].lower() == name.replace("_", "").lower()
