"""The REST API: what is known of agents, tags, samples and the delivery, for programs and dashboards."""
