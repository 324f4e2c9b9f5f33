"""What happens, as it happens, on a WebSocket: tags, lines, alarms, orders, commands."""
