"""Lists of tags from other tools: what becomes a tag, and what is told of each row that does not.

The fixtures are written by hand after what those tools export; KEPServerEX 6, TIA Portal V17, Studio 5000 V33.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from edge_agent.tag_lists.formats import Format, read_list, recognised
from edge_agent.tag_lists.imported import Imported, ListUnreadable, Wanted
from edge_agent.tag_lists.tables import write_table

FIXTURES = Path(__file__).with_name("fixtures")


def read(name: str, **wanted: Any) -> tuple[Format, Imported]:
    return read_list((FIXTURES / name).read_bytes(), None, Wanted(**wanted))


def settings(found: Imported) -> list[dict[str, Any]]:
    return [row.settings for row in found.rows]


def refused(found: Imported) -> dict[str, str]:
    return {one.name: one.reason for one in found.refused}


def test_kepware_of_a_modbus_device_keeps_address_type_scaling_unit_and_description() -> None:
    format_, found = read("kepware.csv", driver="modbus")
    assert format_ is Format.KEPWARE
    assert settings(found) == [
        {"name": "Oven/Zone1/Temperature", "at": "holding 100", "type": "int16", "scale": 0.1, "unit": "°C",
         "description": "Upper zone"},
        {"name": "Oven/Zone1/Power", "at": "input 6", "type": "float", "order": "CDAB", "unit": "kW"},
        {"name": "Oven/Energy", "at": "holding 200", "type": "uint32", "order": "CDAB", "unit": "kWh"},
        {"name": "Oven/Door", "at": "discrete 3", "description": "Door is open"},
        {"name": "Oven/Fault", "at": "holding 109.3"},
        {"name": "Oven/Recipe", "at": "holding 299", "type": "string", "length": 20},
    ]  # fmt: skip
    assert refused(found) == {
        "Oven.Flow": "its scaling is 'Square Root'; Lineside has value = raw * scale + offset",
        "Oven.Profile": "an array: a tag of a Modbus unit has one value; write a tag for each element",
        "Press.Force": "the address 'DB10,REAL4' is none of Modbus, such as 400101 or 40101",
    }
    assert found.refused[0].place == "line 7"
    assert "First Word Low" in found.notes[0]


def test_kepware_by_its_opc_ua_server_takes_any_device() -> None:
    _, found = read("kepware.csv", driver="opcua", node="nsu=KEPServerEX;s=Line3.PLC.{tag}")
    at = {row["name"]: row["at"] for row in settings(found)}
    assert at["Press/Force"] == "nsu=KEPServerEX;s=Line3.PLC.Press.Force"
    assert at["Oven/Profile"] == "nsu=KEPServerEX;s=Line3.PLC.Oven.Profile"
    assert not refused(found)
    assert not found.notes
    _, found = read("kepware.csv", driver="opcua")
    assert "the file does not say which channel and device its tags are of" in found.notes[0]


@pytest.mark.parametrize(
    ("row", "made"),
    [
        ('"a","400011",Short,1,R/W,100,Linear,0,1000,0,100,Double,0,0,"","",1', {"type": "int16", "scale": -0.1}),
        ('"a","400011",Word,1,R/W,100,Linear,0,100,10,110,Double,0,0,"","",1',
         {"type": "uint16", "scale": -1.0, "offset": -10.0}),
        ('"a","400011",BCD,1,R/W,100,,,,,,,,,"","",', {"type": "uint16", "encoding": "bcd"}),
        ('"a","400011",LBCD,1,R/W,100,,,,,,,,,"","",', {"type": "uint32", "order": "CDAB", "encoding": "bcd"}),
        ('"a","400011",Default,1,R/W,100,,,,,,,,,"","",', {"type": "uint16"}),
        ('"a","400011.12L",String,1,R/W,100,,,,,,,,,"","",', {"type": "string", "length": 12, "order": "BADC"}),
        ('"a","400011",Double,1,R/W,100,,,,,,,,,"","",', {"type": "double", "order": "CDAB"}),
    ],
)  # fmt: skip
def test_a_value_of_kepware_means_the_same_here(row: str, made: dict[str, Any]) -> None:
    heading = (FIXTURES / "kepware.csv").read_text().splitlines()[0]
    _, found = read_list(f"{heading}\n{row}\n".encode(), None, Wanted(driver="modbus"))
    assert settings(found) == [{"name": "a", "at": "holding 10"} | made]


def test_a_logix_program_is_opened_down_to_its_values() -> None:
    format_, found = read("press.L5X", node="ns=2;s=[PLC]{tag}", array_max=3)
    assert format_ is Format.L5X
    assert settings(found)[0] == {
        "name": "LineSpeed", "at": "ns=2;s=[PLC]LineSpeed", "description": "Speed of the line",
    }  # fmt: skip
    names = [row["name"] for row in settings(found)]
    assert names == [
        "LineSpeed", "Drive1/Running", "Drive1/Speed", "Drive1/Faults/0", "Drive1/Faults/1", "Speeds/0", "Speeds/1",
        "Speeds/2", "Main/Cycle/PRE", "Main/Cycle/ACC", "Main/Cycle/EN", "Main/Cycle/TT", "Main/Cycle/DN",
    ]  # fmt: skip
    by_name = {row["name"]: row for row in settings(found)}
    assert by_name["Drive1/Speed"]["description"] == "Speed in rpm"
    assert by_name["Drive1/Faults/1"]["at"] == "ns=2;s=[PLC]Drive1.Faults[1]"
    assert by_name["Main/Cycle/ACC"]["at"] == "ns=2;s=[PLC]Program:Main.Cycle.ACC"
    assert refused(found) == {
        "Map": "an array of 2 dimensions",
        "Speed2": "an alias of Drive1.Speed: import that",
        "Secret": "its external access is None: no server can read it",
        "Axis": "the file does not say what the data type 'AXIS_CIP_DRIVE' is made of",
    }


L5X = (
    '<RSLogix5000Content><Controller Use="Target" Name="Press"><DataTypes>'
    '<DataType Name="STRING_20" Family="StringFamily" Class="User"><Members>'
    '<Member Name="LEN" DataType="DINT" Dimension="0" Hidden="false"/>'
    '<Member Name="DATA" DataType="SINT" Dimension="20" Hidden="false"/></Members></DataType>'
    '<DataType Name="Batch" Family="NoFamily" Class="User"><Members>'
    '<Member Name="Recipe" DataType="STRING_20" Dimension="0" Hidden="false" ExternalAccess="Read Only"/>'
    '<Member Name="Key" DataType="DINT" Dimension="0" Hidden="false" ExternalAccess="None"/></Members></DataType>'
    "</DataTypes><AddOnInstructionDefinitions>"
    '<AddOnInstructionDefinition Name="Valve"><Parameters>'
    '<Parameter Name="EnableIn" TagType="Base" DataType="BOOL" Usage="Input" ExternalAccess="Read Only"/>'
    '<Parameter Name="Position" TagType="Base" DataType="REAL" Usage="Output" ExternalAccess="Read Only">'
    "<Description><![CDATA[how far it is open]]></Description></Parameter>"
    '<Parameter Name="Axis" TagType="Base" DataType="AXIS_CIP_DRIVE" Usage="InOut"/></Parameters>'
    '<LocalTags><LocalTag Name="Step" DataType="DINT" ExternalAccess="None"/>'
    '<LocalTag Name="Strokes" DataType="DINT" ExternalAccess="Read Only"><Description>\n'
    '<LocalizedDescription Lang="en-US"/><LocalizedDescription Lang="de-DE"><![CDATA[Hübe]]></LocalizedDescription>'
    "</Description></LocalTag></LocalTags></AddOnInstructionDefinition>"
    '<EncodedData EncodedType="AddOnInstructionDefinition" Name="Locked"><Parameters>'
    '<Parameter Name="Count" TagType="Base" DataType="DINT" Usage="Output"/></Parameters>zX9</EncodedData>'
    '</AddOnInstructionDefinitions><Tags><Tag Name="Now" TagType="Base" DataType="Batch"/>'
    '<Tag Name="Inlet" TagType="Base" DataType="Valve"/><Tag Name="Secret" TagType="Base" DataType="Locked"/>'
    '<Tag Name="StartButton" TagType="Alias" AliasFor="Local:1:I.Data.3"/>'
    '<Tag Name="Slot1" TagType="Alias" AliasFor="Local:1:I"/>'
    "</Tags></Controller></RSLogix5000Content>"
)


def test_add_on_instructions_texts_and_points_of_modules_in_a_logix_program_become_tags() -> None:
    _, found = read_list(L5X.encode(), None, Wanted(node="ns=2;s={tag}"))
    assert [(row["name"], row["at"].removeprefix("ns=2;s=")) for row in settings(found)] == [
        ("Now/Recipe", "Now.Recipe"),
        ("Inlet/EnableIn", "Inlet.EnableIn"),
        ("Inlet/Position", "Inlet.Position"),
        ("Inlet/Strokes", "Inlet.Strokes"),
        ("Secret/Count", "Secret.Count"),
        ("StartButton", "StartButton"),
    ]
    assert [row.get("description") for row in settings(found)[2:4]] == ["how far it is open", "Hübe"]
    assert refused(found) == {
        "Now.Key": "its external access is None: no server can read it",
        "Slot1": "an alias of Local:1:I: edge-agent browse finds its parts",
    }


def test_arrays_of_a_logix_program_are_refused_unless_asked_for() -> None:
    _, found = read("press.L5X")
    assert refused(found)["Speeds"] == "an array of 3 elements; --array-max 3 makes a tag of each"
    assert "Drive1.Faults" in refused(found)
    assert "--node" in found.notes[0]


def test_structures_that_contain_themselves_come_to_an_end() -> None:
    text = (
        (FIXTURES / "press.L5X").read_text().replace('DataType="REAL" Dimension="0"', 'DataType="Drive" Dimension="0"')
    )
    _, found = read_list(text.encode(), None, Wanted())
    assert "structures in structures, more than 10 deep" in refused(found).values()


def test_a_model_gives_its_instances_by_namespace_uri() -> None:
    format_, found = read("press.NodeSet2.xml")
    assert format_ is Format.NODESET
    assert settings(found) == [
        {"name": "Press/Ram/Force", "at": "nsu=http://acme.example/press;i=6001", "description": "Force at the ram"},
        {"name": "Press/Ram/Curve", "at": "nsu=http://acme.example/press;i=6003"},
    ]
    assert refused(found) == {
        "RamType/Force": "part of the ObjectType 'RamType', and no instance",
        "Press/Ram/Force/EURange": "a property: what the server says of something, seldom a value that changes",
        "Press/Ram/Password": "nobody can read it (AccessLevel)",
        "Odd": "its namespace is none of the file",
    }


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_tag_table_of_tia_portal_becomes_tags_of_the_plc_s_own_server(tmp_path: Path, ending: str) -> None:
    path = FIXTURES / "tia-tags.csv"
    if ending == "xlsx":
        rows = list(csv.reader(path.read_text().splitlines(), delimiter=";"))
        path = tmp_path / "PLCTags.xlsx"
        write_table(path, rows[0], rows[1:])
    format_, found = read_list(path.read_bytes(), None, Wanted())
    assert format_ is Format.TIA
    assert settings(found) == [
        {"name": "Motor_Speed", "at": 'nsu=http://www.siemens.com/simatic-s7-opcua;s="Motor_Speed"',
         "description": "Speed in rpm"},
        {"name": "Drives/Main/Motor Ready", "at": 'nsu=http://www.siemens.com/simatic-s7-opcua;s="Motor Ready"'},
    ]  # fmt: skip
    assert refused(found) == {
        "Hidden_Count": "not accessible from HMI and OPC UA: tick that in the tag table",
        "T_Delay": "a Timer: no value that OPC UA has",
        "Drive_1": "of the data type '\"typeDrive\"', whose parts the table does not name",
    }


def test_tag_tables_of_tia_portal_in_xml_become_tags_too() -> None:
    format_, found = read("tia-tags.xml")
    assert format_ is Format.TIA_XML
    assert settings(found) == [
        {"name": "Drives/Motor_Speed", "at": 'nsu=http://www.siemens.com/simatic-s7-opcua;s="Motor_Speed"',
         "description": "Speed in rpm & more"},
    ]  # fmt: skip
    assert refused(found) == {
        "Hidden": "not accessible from HMI and OPC UA: tick that in the tag table",
        "T_Delay": "a Timer: no value that OPC UA has",
    }
    format_, found = read("tia-openness.xml")
    assert format_ is Format.TIA_XML
    assert settings(found) == [
        {"name": "Ram Force", "at": 'nsu=http://www.siemens.com/simatic-s7-opcua;s="Ram Force"',
         "description": "what it presses with"},
    ]  # fmt: skip
    assert refused(found) == {
        "Secret": "not accessible from HMI and OPC UA: tick that in the tag table",
        "Drive_1": "of the data type '\"typeDrive\"', whose parts the table does not name",
    }


def test_data_blocks_of_tia_portal_are_opened_down_to_their_values() -> None:
    format_, found = read("tia-block.db")
    assert format_ is Format.TIA_BLOCKS
    assert [(row.place, row.settings["name"], row.settings["at"].partition(";s=")[2]) for row in found.rows] == [
        ("line 6", "Press/Running", '"Press"."Running"'),
        ("line 7", "Press/Set point", '"Press"."Set point"'),
        ("line 9", "Press/Ram/Force", '"Press"."Ram"."Force"'),
        ("line 10", "Press/Ram/Name", '"Press"."Ram"."Name"'),
        ("line 11", "Press/Ram/Zones", '"Press"."Ram"."Zones"'),
        ("line 21", "Press/Last", '"Press"."Last"'),
        ("line 34", "Oven/Temperature", '"Oven"."Temperature"'),
    ]
    assert settings(found)[0] == {
        "name": "Press/Running", "at": 'nsu=http://www.siemens.com/simatic-s7-opcua;s="Press"."Running"',
        "description": "it moves",
    }  # fmt: skip
    assert refused(found) == {
        "Press/Drives": "an array [0..1] of structures: --array-max makes tags of each, edge-agent browse, too",
        "Press/Recipe": 'of the data type "Recipe_Type", whose parts the source does not name: generate it with all '
        "dependent objects, or let edge-agent browse find them",
        "Press/Secret": "not accessible from HMI and OPC UA: tick that in the data block",
    }
    with pytest.raises(ListUnreadable, match="it has no DATA_BLOCK"):
        read_list(b"name,at\n", Format.TIA_BLOCKS, Wanted())


def test_data_blocks_are_opened_by_the_types_and_function_blocks_of_their_source() -> None:
    format_, found = read("tia-blocks-with-types.db", array_max=2)
    assert format_ is Format.TIA_BLOCKS
    ids = [(row.place, row.settings["name"], row.settings["at"].partition(";s=")[2]) for row in found.rows]
    drives = [
        ("line 57", f"Line/Drives/{number}/{name}", f'"Line"."Drives"[{number}].{node}')
        for number in (1, 2)
        for name, node in (("Type", '"Type"'), ("Speed", '"Speed"'), ("Limits/Low", '"Limits"."Low"'))
    ]
    assert ids == [
        ("line 53", "Line/Url", '"Line"."Url"'),
        ("line 54", "Line/Motor/Type", '"Line"."Motor"."Type"'),
        ("line 54", "Line/Motor/Speed", '"Line"."Motor"."Speed"'),
        ("line 54", "Line/Motor/Limits/Low", '"Line"."Motor"."Limits"."Low"'),
        *drives,
        ("line 59", "Line/Level", '"Line"."Level"'),
        ("line 66", "Press_DB/Start", '"Press_DB"."Start"'),
        ("line 66", "Press_DB/Main/Type", '"Press_DB"."Main"."Type"'),
        ("line 66", "Press_DB/Main/Speed", '"Press_DB"."Main"."Speed"'),
        ("line 66", "Press_DB/Main/Limits/Low", '"Press_DB"."Main"."Limits"."Low"'),
    ]
    said = {row.settings["name"]: row.settings.get("description") for row in found.rows}
    assert said["Line/Url"] == "where it is"
    assert said["Line/Motor/Speed"] == "rpm"
    how = "whose parts the source does not name: generate it with all dependent objects, or let edge-agent browse find"
    assert refused(found) == {
        "Line/Sizes": 'an array [0.."COUNT"] of structures: --array-max makes tags of each, edge-agent browse, too',
        "Press_DB/Delay": f"of the data type TON_TIME, {how} them",
        "Oven_DB": f"one of 'FB_Oven', {how} them",
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"a,b\n1,2\n", "it is not known what this is"),
        (b"<html/>", "neither an L5X export, a tag table of TIA Portal nor a NodeSet2 file"),
        (b"<Tagtable >", "it is no XML"),
        (b"<a><!-- <Tagtable > --></a>", "it has no PLC tags of TIA Portal"),
        (b"<RSLogix5000Content>", "it is no XML"),
        (b"<RSLogix5000Content/>", "it is no L5X export of a controller"),
        (b"<UANodeSet/>", "it is no NodeSet2 file"),
        (b"PK\x03\x04 and nothing", "it is no XLSX file"),
        (b'name,at\n"x,y\n', "it is no CSV"),
    ],
)
def test_what_cannot_be_read_at_all_is_said(data: bytes, said: str) -> None:
    with pytest.raises(ListUnreadable) as caught:
        read_list(data, None, Wanted())
    assert said in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_are_read_as_spreadsheets_of_all_countries_write_them(encoding: str, separator: str) -> None:
    text = separator.join(("name", "at", "unit")) + "\n" + separator.join(("zone", "holding 1", "°C")) + "\n"
    assert recognised(text.encode(encoding)) is Format.LINESIDE
    _, found = read_list(text.encode(encoding), None, Wanted())
    assert settings(found) == [{"name": "zone", "at": "holding 1", "unit": "°C"}]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_numbers_with_a_decimal_comma_are_numbers_where_commas_divide_no_cells(separator: str) -> None:
    rows = [
        ("name", "at", "scale", "offset", "deadband", "description"),
        ("zone", "holding 1", "0,1", "-2,5E1", "0,5%", "1,5 m"),
    ]
    data = "\n".join(separator.join(row) for row in rows).encode()
    _, found = read_list(data, None, Wanted(driver="modbus"))
    assert settings(found) == [
        {"name": "zone", "at": "holding 1", "scale": 0.1, "offset": -25.0, "deadband": "0.5%", "description": "1,5 m"}
    ]
    _, found = read_list(b'name,at,scale\nzone,holding 1,"1,234"\n', None, Wanted(driver="modbus"))
    assert settings(found)[0]["scale"] == "1,234", "a thousand or one: nobody can say"
