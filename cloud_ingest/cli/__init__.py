"""The ``cloud-ingest`` command: for the people who run the cloud side."""
