"""Report: the figures of `bench/results` as plots, on one page of the documentation."""
