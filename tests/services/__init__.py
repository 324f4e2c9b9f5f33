"""Services of others that take long to fetch and to start: ``make test-services``."""
