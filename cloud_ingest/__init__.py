"""The program in the cloud: bridge to the event log, project into PostgreSQL, answer queries."""
