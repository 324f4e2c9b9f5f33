"""The bridge without state: from MQTT into the event log, and the acknowledgement back."""
