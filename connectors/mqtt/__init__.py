"""MQTT by paho-mqtt, driven by the event loop."""

from connectors.model.absent_modules import counted_as_absent

with counted_as_absent(
    "dns"
):  # for brokers by SRV record, which nobody here asks for: 2 MB where dnspython is installed
    import paho.mqtt.client  # noqa: F401
