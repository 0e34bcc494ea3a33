"""Datasets: uploads, commits, versions, samples."""
