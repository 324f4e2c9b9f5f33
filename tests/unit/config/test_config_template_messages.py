"""Templates and defaults: where a message points when something in one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from template_files import PRESS, said_of


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


MISTAKES: dict[str, tuple[str, list[str]]] = {
    "a missing value": (
        PRESS + "devices:\n  - {name: p, template: press}\n",
        [
            "agent.yaml:17:25: device 'p' needs a value of 'host' for its template 'press'. Add 'with: {host: …}'.",
        ],
    ),
    "an unknown value": (
        PRESS + "devices:\n  - {name: p, template: press, with: {hots: a}}\n",
        [
            "agent.yaml:17:32: 'with' of device 'p' needs 'host'. Add 'host'.",
            "agent.yaml:17:39: unknown key 'hots' in 'with' of device 'p'. Did you mean 'host'?",
        ],
    ),
    "values of the wrong type, outside of the bounds and of the choices": (
        PRESS + "devices:\n  - {name: p, template: press, with: {host: 5, port: 0, line: C}}\n",
        [
            "agent.yaml:17:45: 'host' of 'with' of device 'p': it has to be a text, not 5. Put it in quotes.",
            "agent.yaml:17:54: 'port' of 'with' of device 'p': it cannot be 0. Write at least 1.",
            "agent.yaml:17:63: 'line' of 'with' of device 'p': it cannot be 'C'. It can be 'A' or 'B'.",
        ],
    ),
    "a mistake in the template is told there, with the first that uses it": (
        PRESS.replace("unit: mm", "samplng: 1s")
        + "devices:\n"
        + "".join(f"  - {{name: p{n}, template: press, with: {{host: h}}}}\n" for n in range(3)),
        [
            "agent.yaml:15:65: unknown key 'samplng' in tag 'ram/position'. Did you mean 'sampling'? "
            "(Used by device 'p0', agent.yaml:17:5, and 2 more times.)",
        ],
    ),
    "a value that does not fit where the template puts it": (
        PRESS + "devices:\n  - {name: p, template: press, with: {host: a b}}\n",
        [
            "agent.yaml:11:17: 'endpoint' of device 'p': 'opc.tcp://a b:4840' is not an OPC UA endpoint. "
            "Write it as opc.tcp://host:4840. (Used by device 'p', agent.yaml:17:5.)",
        ],
    ),
    "a reference to nothing, and a parameter that nothing refers to": (
        PRESS.replace("$(port)", "$(prot)") + "devices:\n  - {name: p, template: press, with: {host: h}}\n",
        [
            "agent.yaml:7:7: the parameter 'port' of template 'press' is used nowhere. "
            "Write $(port) where it belongs, or remove it.",
            "agent.yaml:11:17: '$(prot)': there is no parameter 'prot'. Did you mean $(port)?",
        ],
    ),
    "references that cannot be read": (
        "templates:\n  t:\n    parameters: {n: integer, s: text}\n    tags:\n"
        "      - {name: a$(n, at: coil 1}\n"
        "      - {name: b, at: coil $(n / 2)}\n"
        "      - {name: c, at: coil $(s + 1)}\n"
        "      - {name: d, at: coil $(1)}\n"
        "      - {name: e, at: coil $(n)$(s)}\n",
        [
            "agent.yaml:7:16: the '$(' of '$(n' is not closed. Write $(name).",
            "agent.yaml:8:23: '$(n / 2)' is no calculation. Write the name of a parameter, or numbers and parameters "
            "with + - * and brackets.",
            "agent.yaml:9:23: '$(s + 1)' calculates with 's', which is no number. Declare it as an integer "
            "or a number.",
            "agent.yaml:10:23: '$(1)' names no parameter. Write $(name), or $$( for the text $(.",
        ],
    ),
    "no such template, the wrong kind of template, and 'with' alone": (
        PRESS + "devices:\n  - {name: p, template: pres, with: {host: h}}\n"
        "  - {name: q, driver: opcua, endpoint: 'opc.tcp://q', insecure: true, tags: [{template: press}]}\n"
        "  - {name: r, driver: opcua, endpoint: 'opc.tcp://q', insecure: true, tags: [{name: t, at: i=1}], with: {}}\n",
        [
            "agent.yaml:17:25: there is no template 'pres' for device 'p'. Did you mean 'press'?",
            "agent.yaml:18:89: 'press' is a template of a device. Use it under 'devices'.",
            "agent.yaml:19:99: device 'r' has 'with' and no 'template'. Add 'template', or remove it.",
        ],
    ),
    "templates without an end": (
        "templates:\n  a: {tags: [{template: b}]}\n  b: {tags: [{template: a}]}\n"
        "devices: [{name: d, driver: modbus, endpoint: 'tcp://x', tags: [{name: t, at: coil 1}, {template: a}]}]\n",
        [
            "agent.yaml:5:25: the templates a, b and then a use each other without an end. Remove one of them. "
            "(Used by device 'd', agent.yaml:6:88.)",
        ],
    ),
    "declarations that are wrong": (
        "templates:\n  a: {device: {name: x}, parameters: {name: text}}\n  b: {parameters: {x: txt, a-b: text}}\n"
        "  c: {tags: [], device: {}}\n  d: {parameters: {x: {type: text, min: 1}, y: {type: integer, default: z}}}\n"
        "  e: {device: {name: x}}\n",
        [
            "agent.yaml:4:45: 'name' of 'parameters' of 'a' of 'templates': every device has '$(name)' already, its "
            "own name. Give the parameter another name.",
            "agent.yaml:5:23: 'x' of 'parameters' of 'b' of 'templates': there is no type 'txt' of a parameter. "
            "Did you mean 'text'? It can be 'text', 'integer', 'number' or 'boolean'.",
            "agent.yaml:6:6: 'c' of 'templates': it is either of a device or of tags. Write 'device' or 'tags' "
            "below it.",
            "agent.yaml:7:41: 'min' of 'x' of 'parameters' of 'd' of 'templates': a text has no bounds. Remove it.",
            "agent.yaml:7:73: 'default' of 'y' of 'parameters' of 'd' of 'templates': it has to be a whole number, "
            "not 'z'.",
            "agent.yaml:8:16: a template has no name for its devices. Name them under 'devices'.",
        ],
    ),
    "a second template of the same name": (
        "templates: {a: {tags: [{name: t}]}}\ninclude: [more.yaml]\n",
        [
            "more.yaml:1:13: a second template is called 'a'; the first is in line 3 of agent.yaml. "
            "Give one of them another name.",
        ],
    ),
    "defaults that nobody can have": (
        "defaults:\n  all: {pol: 1s, name: x, tag_defaults: {name: t, samplng: 1s}}\n  modbsu: {}\n  opcua: 5\n",
        [
            "agent.yaml:4:9: unknown key 'pol' in 'all' of 'defaults'. Did you mean 'poll'?",
            "agent.yaml:4:18: there are no defaults for 'name'. Write it at the device.",
            "agent.yaml:4:42: every tag has a name of its own. Remove the line.",
            "agent.yaml:4:51: unknown key 'samplng' in 'tag_defaults' of 'all' of 'defaults'. Did you mean 'sampling'?",
            "agent.yaml:5:3: unknown key 'modbsu' in 'defaults'. Did you mean 'modbus'?",
            "agent.yaml:6:10: 'opcua' of 'defaults' has to be a group of settings (key: value), not the number 5. "
            "Write its settings below it, indented.",
        ],
    ),
    "a default with a wrong value is told once": (
        "defaults: {modbus: {tag_defaults: {poll: 5}}}\ndevices:\n"
        "  - {name: d, driver: modbus, endpoint: 'tcp://x', tags: [{name: a, at: coil 1}, {name: b, at: coil 2}]}\n",
        [
            "agent.yaml:3:42: 'poll' of tag 'a': 5 is not a duration. Write a number with a unit, such "
            "as 100ms, 5s, 2m, 1h or 7d. (Used by device 'd', agent.yaml:5:5, and 1 more time.)",
        ],
    ),
    "a tag that a template and a device have": (
        "templates: {g: {tags: [{name: t, at: coil 1}]}}\ndevices:\n"
        "  - {name: d, driver: modbus, endpoint: 'tcp://x', tags: [{template: g}, {name: t, at: coil 2}]}\n",
        [
            "agent.yaml:5:81: device 'd' has a second tag 't'; the first is in line 3. Give one of them another name.",
        ],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_message_points_to_where_the_mistake_is(case: str) -> None:
    text, expected = MISTAKES[case]
    assert said_of(text, more="templates: {a: {tags: [{name: t}]}}\n") == expected


def test_a_mistake_in_another_file_is_told_there_with_the_file_that_uses_it() -> None:
    said = said_of(
        "include: [lib.yaml]\ndevices:\n  - {name: p, template: press, with: {host: h}}\n",
        lib=PRESS.replace("ns=2;s=$(line).Ram.Force", "$(line)"),
    )
    assert said == [
        "lib.yaml:12:33: 'at' of tag 'ram/force': 'A' is not a node id. Write it as nsu=<namespace uri>;"
        "s=<identifier>, or ns=<index>;s=<identifier> (i=<number> where it is one). (Used by device 'p', "
        "agent.yaml:5:5.)"
    ]


def test_templates_that_multiply_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.config.expansion.TAGS_MAX", 1000)
    levels = [f"  t{n}: {{tags: [{', '.join(f'{{template: t{n + 1}}}' for _ in range(40))}]}}\n" for n in range(6)]
    text = "templates:\n" + "".join(levels) + "  t6: {tags: [{name: x, at: coil 1}]}\n"
    said = said_of(text + "devices: [{name: d, driver: modbus, endpoint: 'tcp://x', tags: [{template: t0}]}]\n")
    assert said[0].startswith("agent.yaml:10:15: templates make more than 1,000 tags. Use several agents.")


# What would have no end, or hide something


def test_each_mistake_at_one_place_is_told_and_how_many_have_it() -> None:
    said = said_of(
        """
        templates:
          press:
            device:
              driver: opcua
              endpoint: opc.tcp://h
              insecure: true
              tags: [{unit: kN}]
        devices:
          - {name: a, template: press}
          - {name: b, template: press}
        """
    )
    assert [line.partition(". ")[0] for line in said] == [
        "agent.yaml:10:14: this tag needs 'name'",
        "agent.yaml:10:14: this tag needs 'at'",
    ]
    assert all(line.endswith("(Used by device 'a', agent.yaml:12:5, and 1 more time.)") for line in said)


def test_a_tag_of_a_template_that_a_device_changes_twice_is_there_twice() -> None:
    said = said_of(
        """
        templates:
          meter:
            device: {driver: modbus, endpoint: tcp://h, tags: [{name: power, at: holding 1}]}
        devices:
          - name: a
            template: meter
            tags:
              - {name: power, scale: 2}
              - {name: power, scale: 3}
        """
    )
    assert said == [
        "agent.yaml:12:16: device 'a' has a second tag 'power'; the first is in line 11. Give one of them another name."
    ]


def test_groups_of_nothing_that_are_used_again_and_again_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.config.expansion.USES_MAX", 100)
    eight = [f"  t{depth}: {{tags: [{', '.join([f'{{template: t{depth - 1}}}'] * 8)}]}}\n" for depth in range(1, 7)]
    said = said_of(
        f"templates:\n  t0: {{tags: []}}\n{''.join(eight)}"
        "devices:\n  - {name: a, driver: modbus, endpoint: tcp://h, tags: [{template: t6}, {name: x, at: coil 1}]}\n"
    )
    assert len(said) == 1
    assert "templates are used more than 100 times. Use several agents." in said[0]


def doubling(kind: str, inner: str, start: str) -> str:
    """Templates that each make more of a value than they are given."""
    first = "    device: {driver: modbus, endpoint: tcp://h, tags: [{name: x, at: coil 1, description: -$(a)}]}\n"
    text = f"templates:\n  t0:\n    parameters: {{a: {kind}}}\n{first}"
    for depth in range(1, 8):
        text += f"  t{depth}:\n    parameters: {{a: {kind}}}\n"
        text += f'    device: {{template: t{depth - 1}, with: {{a: "{inner}"}}}}\n'
    return f"{text}devices:\n  - {{name: x, template: t7, with: {{a: {start}}}}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (doubling("text", "$(a)" * 100, "ha"), "a text that is filled in has more than 100,000 characters."),
        (doubling("integer", f"$({'*'.join(['a'] * 40)})", "9" * 60), "a calculation has a result that is too large."),
        (doubling("number", "$(a * 1e300 * 1e300)", "1"), "a calculation has a result that is too large."),
        (doubling("number", "$(a * a * a * a * a * a * 1.5)", f"1{'0' * 60}"), "a calculation has a result that is"),
    ],
)
def test_values_that_grow_from_template_to_template_come_to_an_end(text: str, message: str) -> None:
    (said,) = said_of(text)
    assert "with its template 't" in said
    assert message in said
