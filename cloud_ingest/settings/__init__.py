"""The sections of the configuration that parts of the platform bring."""
