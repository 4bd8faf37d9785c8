"""Measurements of the server as a user meets it: load and accuracy over HTTP. Not collected by pytest."""
