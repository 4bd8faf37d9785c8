"""Docs: what `/openapi.json` says of each route, and the page `/docs` that shows it."""
