"""Lists that are damaged, made to harm, or simply large: a sentence or their tags, within bounds, and no wrong tag."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.tag_lists.formats import Format, read_list
from edge_agent.tag_lists.imported import ListUnreadable, Wanted
from edge_agent.tag_lists.tables import UNPACKED_BYTES_MAX, write_table
from tests.bounded_effort import bounded_effort

FIXTURES = Path(__file__).with_name("fixtures")
EXPORTS = [
    "kepware.csv",
    "press.L5X",
    "press.NodeSet2.xml",
    "tia-tags.csv",
    "tia-block.db",
    "tia-blocks-with-types.db",
    "tia-tags.xml",
    "tia-openness.xml",
]
L5X = "<RSLogix5000Content><Controller>{}</Controller></RSLogix5000Content>"
NODESET = '<UANodeSet xmlns="http://opcfoundation.org/UA/2011/03/UANodeSet.xsd">{}</UANodeSet>'
MODBUS = Wanted("modbus")
EXPAT_BYTES = 200_000_000
"""Expat stops after 8 MiB of text, which are in pieces of a few bytes by then."""


def workbook(*rows: list[object]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)  # type: ignore[union-attr]
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def changed(data: bytes, part: str, before: bytes, after: bytes) -> bytes:
    """An XLSX file of which one part is another."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as made:
        for name in archive.namelist():
            content = archive.read(name)
            assert name != part or before in content
            made.writestr(name, content.replace(before, after) if name == part else content)
    return found.getvalue()


def unfolding(root: str) -> str:
    """A document whose entities make a thousand million words of a few."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE {root} [<!ENTITY e0 "word">{entities}]>'


@given(name=st.sampled_from(EXPORTS), data=st.data())
def test_an_export_that_is_damaged_anywhere_is_read_or_refused_in_a_sentence(name: str, data: st.DataObject) -> None:
    whole = (FIXTURES / name).read_bytes()
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, min(len(whole), begin + 200)))
    broken = whole[:begin] + data.draw(st.binary(max_size=40)) + whole[end:]
    format_ = data.draw(st.sampled_from([None, *Format]))
    with bounded_effort(len(broken)):
        try:
            read_list(broken, format_, data.draw(st.sampled_from([MODBUS, Wanted(array_max=20)])))
        except ListUnreadable as exc:
            assert str(exc)  # noqa: PT017  either is right


@given(st.data())
def test_a_workbook_that_is_damaged_anywhere_is_read_or_refused_in_a_sentence(data: st.DataObject) -> None:
    whole = workbook(["name", "at", "scale"], ["zone", "holding 1", 0.1], ["door", "coil 2", None])
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        part = data.draw(st.sampled_from(archive.namelist()))
        content = archive.read(part)
    at = data.draw(st.integers(0, len(content) - 1))
    broken = changed(whole, part, content, content[:at] + data.draw(st.binary(max_size=8)) + content[at + 1 :])
    with bounded_effort(len(broken)):
        try:
            read_list(broken, None, MODBUS)
        except ListUnreadable as exc:
            assert str(exc)  # noqa: PT017  either is right


@pytest.mark.parametrize(
    ("root", "rest"),
    [
        ("RSLogix5000Content", L5X.format('<Tags><Tag Name="&e9;" DataType="DINT"/></Tags>')),
        ("Tagtable", '<Tagtable name="t"><Tag type="Int" addr="%MW0">&e9;</Tag></Tagtable>'),
        ("UANodeSet", NODESET.format('<UAVariable NodeId="ns=1;i=1" BrowseName="&e9;"/>')),
    ],
)
def test_a_document_that_unfolds_is_refused(root: str, rest: str) -> None:
    data = (unfolding(root) + rest).encode()
    with (
        bounded_effort(len(data), memory_bytes=EXPAT_BYTES),
        pytest.raises(ListUnreadable, match="it is no XML: limit on input amplification"),
    ):
        read_list(data, None, Wanted())


def test_a_workbook_that_unfolds_is_refused() -> None:
    data = workbook(["name", "at"], ["zone", 40101])
    entities = unfolding("worksheet").encode()
    bomb = changed(data, "xl/worksheets/sheet1.xml", b"<worksheet", entities + b"<worksheet")
    bomb = changed(bomb, "xl/worksheets/sheet1.xml", b"<v>40101</v>", b"<v>&e9;</v>")
    with bounded_effort(len(bomb)), pytest.raises(ListUnreadable, match="it is no XLSX file that can be read"):
        read_list(bomb, None, MODBUS)
    padding = b"<!--" + b" " * UNPACKED_BYTES_MAX + b"-->"
    large = changed(data, "xl/worksheets/sheet1.xml", b"<worksheet", padding + b"<worksheet")
    with bounded_effort(len(large)), pytest.raises(ListUnreadable, match="more than 300 MB unpacked"):
        read_list(large, None, MODBUS)


def test_a_file_outside_is_not_read_for_an_entity() -> None:
    reference = '<!DOCTYPE RSLogix5000Content [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
    tag = '<Tags><Tag Name="Force" DataType="DINT"><Description>&e;</Description></Tag></Tags>'
    with pytest.raises(ListUnreadable, match="undefined entity"):
        read_list((reference + L5X.format(tag)).encode(), None, Wanted())


def test_data_types_within_data_types_unfold_only_so_far() -> None:
    members = "".join(f'<Member Name="m{n}" DataType="{{}}"/>' for n in range(10))
    types = "".join(
        f'<DataType Name="T{depth}"><Members>{members.replace("{}", f"T{depth + 1}")}</Members></DataType>'
        for depth in range(9)
    )
    data = L5X.format(f'<DataTypes>{types}</DataTypes><Tags><Tag Name="press" DataType="T0"/></Tags>').encode()
    with (
        bounded_effort(200_000, memory_per_byte=1000),
        pytest.raises(ListUnreadable, match="more than 200,000 values"),
    ):
        read_list(data, None, Wanted())


def test_numbers_that_are_none_in_an_export_cost_no_other_its_tag() -> None:
    absurd = "9" * 5000
    tags = f'<Tags><Tag Name="a" DataType="DINT" Dimensions="{absurd}"/><Tag Name="b" DataType="DINT"/></Tags>'
    _, found = read_list(L5X.format(tags).encode(), None, Wanted())
    assert [row.settings["name"] for row in found.rows] == ["b"]
    assert [one.name for one in found.refused] == ["a"]
    variables = (
        f'<UAVariable NodeId="ns={absurd};i=1" BrowseName="a"/><UAVariable NodeId="i=2" BrowseName="b" ValueRank="x"/>'
        '<UAVariable NodeId="i=3" BrowseName="c" AccessLevel="x"/>'
    )
    _, found = read_list(NODESET.format(variables).encode(), None, Wanted())
    assert [row.settings["name"] for row in found.rows] == ["b", "c"]


def test_a_formula_without_its_result_is_no_empty_cell() -> None:
    """The scale would be left out, and every value of the tag be wrong."""
    data = workbook(["name", "at", "scale"], ["zone", "holding 1", "=1/10"])
    with pytest.raises(ListUnreadable, match=r"result of the formula '=1/10' is not in the file: open it in a spread"):
        read_list(data, None, MODBUS)
    saved = changed(data, "xl/worksheets/sheet1.xml", b"<f>1/10</f><v />", b"<f>1/10</f><v>0.1</v>")
    _, found = read_list(saved, None, MODBUS)
    assert [row.settings for row in found.rows] == [{"name": "zone", "at": "holding 1", "scale": 0.1}]


def test_of_merged_cells_the_first_has_the_text_and_the_others_none() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["name", "at"], ["zone", "holding 1"], [None, "holding 2"]):
        sheet.append(row)  # type: ignore[union-attr]
    sheet.merge_cells("A2:A3")  # type: ignore[union-attr]
    data = io.BytesIO()
    book.save(data)
    _, found = read_list(data.getvalue(), None, MODBUS)
    assert [row.settings for row in found.rows] == [{"name": "zone", "at": "holding 1"}, {"at": "holding 2"}]


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nname;at;unit\nzone;holding 1;°C\n",
        "Tags of oven, line 3, plant 7\nname;at;unit\nzone;holding 1;°C\n",
        "name;at;unit;description\nzone;holding 1;°C;\ndoor;coil 1;;open, or closed, or neither\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_semicolons_are_found_whatever_stands_around_them(text: str, encoding: str) -> None:
    _, found = read_list(text.encode(encoding), None, MODBUS)
    assert found.rows[0].settings == {"name": "zone", "at": "holding 1", "unit": "°C"}


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ListUnreadable, match="two columns are called 'name': leave one of them out"):
        read_list(b"name,at,Name\nzone,holding 1,door\n", None, MODBUS)


@pytest.mark.parametrize("name", ["=1+1", "@sum", "-x", "+1-800", "'=quoted", "''", "'plain"])
def test_no_spreadsheet_takes_a_name_for_a_formula_and_it_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tags.csv"
    write_table(path, ["name", "at", "scale"], [[name, "holding 1", "-0.5"]])
    _, row = path.read_text("utf-8-sig").splitlines()
    assert row == f"'{name},holding 1,-0.5"
    _, found = read_list(path.read_bytes(), None, MODBUS)
    assert [row.settings for row in found.rows] == [{"name": name, "at": "holding 1", "scale": -0.5}]


@pytest.mark.parametrize(("ending", "count"), [("csv", 100_000), ("xlsx", 10_000)])
def test_large_tables_are_read(tmp_path: Path, ending: str, count: int) -> None:
    path = tmp_path / f"tags.{ending}"
    rows = [[f"zone{number}", f"holding {number % 60_000}", "uint16"] for number in range(count)]
    write_table(path, ["name", "at", "type"], rows)
    data = path.read_bytes()
    with bounded_effort(100 * count, is_traced=False):
        _, found = read_list(data, None, MODBUS)
    assert [row.settings["name"] for row in found.rows] == [row[0] for row in rows]
