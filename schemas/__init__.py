"""Avro schemas: registry, container format, frame <-> Avro codec."""
