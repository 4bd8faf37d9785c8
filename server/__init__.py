"""From a bundle to answers: REST, gRPC, batching, engines, metrics."""
