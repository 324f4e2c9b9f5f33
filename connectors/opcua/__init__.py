"""OPC UA by asyncua: subscriptions, decoded in columns."""

from connectors.opcua.lean_asyncua import leave_names_out, leave_server_out

leave_server_out()
leave_names_out()
