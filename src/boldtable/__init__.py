"""BOLD in, table out: fMRI cohorts from BIDS to a benchmark table that can be trusted."""

__version__ = "0.1.0"
