"""Spans of requests and batches, exported as OpenTelemetry's collectors take them. Imported only where that is on."""
