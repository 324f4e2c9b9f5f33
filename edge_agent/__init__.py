"""The program beside the line: acquire, commit to the outbox, send, execute."""
