"""Types of data of the tests on a server of open62541: a structure, and one whose fields may be left out.

Imported by the server's own process alone, as ``opcua_server``. A structure within another does not come into its own:
o6 tells its type by a namespace that the server does not have.
"""

from __future__ import annotations

import o6

o6.ns.namespace("recipes", "urn:lineside:tests:recipes")


@o6.datatype(ns="recipes")
class Recipe:
    """How a part is made."""

    Name: str
    Temperatures: list[o6.Double]
    Passes: o6.Int16


@o6.datatype(ns="recipes")
class Report:
    """What came of it; some of it is left out."""

    Code: o6.UInt32
    Note: str | None
    Weight: o6.Double | None
