"""Servers: one classifier for each framework, written as its documentation shows. They run without Sesame's code."""
