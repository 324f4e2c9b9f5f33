"""The agent's configuration: YAML files in, frozen settings out, and every mistake named with its place."""
