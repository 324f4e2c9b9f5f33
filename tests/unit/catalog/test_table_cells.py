"""Products as rows of a table, there and back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.catalog.models import ProductBody
from cloud_ingest.catalog.rules import Attribute
from cloud_ingest.catalog.table_cells import CodeInvalid, body_of, columns_of, row_of

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=20)
TIMES = st.sampled_from([None, "2026-01-01T00:00:00Z", "2027-06-01T10:30:00+02:00"])
BODIES = st.fixed_dictionaries(
    {
        "names": st.dictionaries(st.sampled_from(["en", "de", "fr-CA"]), TEXTS, min_size=1),
        "descriptions": st.dictionaries(st.sampled_from(["en", "de"]), TEXTS),
        "attributes": st.fixed_dictionaries(
            {}, optional={"bar": st.floats(-1e9, 1e9), "atex": st.booleans(), "note": TEXTS}
        ),
        "media": st.lists(
            st.fixed_dictionaries(
                {"url": st.sampled_from(["https://a.example/b.webp", "/media/c"])},
                optional={"kind": st.sampled_from(["image", "drawing"]), "alt": st.just({"en": "a picture"})},
            ),
            max_size=3,
        ),
        "prices": st.lists(
            st.fixed_dictionaries(
                {
                    "currency": st.sampled_from(["EUR", "USD"]),
                    "amount": st.decimals(0, 10**9, places=2).map(str),
                    "from": TIMES,
                }
            ),
            max_size=4,
            unique_by=lambda price: (price["currency"], price["from"]),
        ),
        "tax_rate": st.sampled_from(["0", "0.19"]),
        "weight_kg": st.decimals(0, 1000, places=3).map(str),
        "sold": st.booleans(),
        "routing": st.sampled_from(["", "assembly"]),
    }
)
SCHEMA = {"bar": Attribute("number"), "atex": Attribute("flag"), "note": Attribute("text")}


@given(BODIES)
def test_a_product_comes_back_from_a_table_as_it_went_in(body: dict[str, Any]) -> None:
    document = ProductBody.model_validate(body).document()
    row = row_of("PUMP-12", document)
    assert set(row) <= set(columns_of([document]))
    code, again = body_of(row, SCHEMA)
    found = ProductBody.model_validate(again).document()
    bar, was = found["attributes"].pop("bar", 0.0), document["attributes"].pop("bar", 0.0)
    assert bar == pytest.approx(was, rel=1e-14)
    for one in (found, document):
        one["prices"].sort(key=lambda price: (price["currency"], str(price["from"])))
    assert (code, found) == ("PUMP-12", document)


def test_what_a_spreadsheet_would_run_as_a_formula_is_a_text() -> None:
    document = ProductBody(names={"en": "=1+1", "de": "@x"}, sold=True, tax_rate=Decimal(0)).document()
    row = row_of("A", document)
    assert (row["name.en"], row["name.de"]) == ("'=1+1", "'@x")
    assert body_of(row, {})[1]["names"] == {"en": "=1+1", "de": "@x"}


@pytest.mark.parametrize(
    ("cells", "why"),
    [({"code": "a b"}, "no code"), ({"code": ""}, "no code"), ({"code": "a", "prize.EUR": "1"}, "column 'prize.EUR'"),
     ({"code": "a", "price.EUR": "1 till 2"}, "price.EUR"), ({"code": "a", "sold": "maybe"}, "sold"),
     ({"code": "a", "attribute.bar": "much"}, "attribute.bar"), ({"code": "a", "media": "[1"}, "media")],
)  # fmt: skip
def test_a_cell_that_cannot_be_understood_is_named(cells: dict[str, str], why: str) -> None:
    with pytest.raises(CodeInvalid, match=why):
        body_of(cells, SCHEMA)
