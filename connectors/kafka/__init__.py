"""Apache Kafka by aiokafka: the distributed event log."""
