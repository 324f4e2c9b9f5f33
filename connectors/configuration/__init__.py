"""YAML files with positions, and all that is wrong with them in the words of who wrote them; for both programs."""
