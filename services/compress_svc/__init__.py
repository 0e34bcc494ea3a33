"""Export, quantisation and report cards of smaller models."""
