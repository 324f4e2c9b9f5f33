"""MQTT by paho-mqtt, driven by the event loop."""
