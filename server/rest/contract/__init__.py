"""Contract: the JSON of REST's requests and answers. Answers are built from these models, `/openapi.json` shows them.

A field that is `None` is left out of an answer; no answer has a `null`.
"""
