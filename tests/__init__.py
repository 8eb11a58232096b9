"""Tests by kind: unit (no sockets), integration, faults, properties, model, docs."""
