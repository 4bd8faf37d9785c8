"""Scheduling: which image is admitted, in which order images and jobs run, and which images make a batch."""
