"""What a run learns from, as numbered batches: pictures, folders, tables of arrays, and any iterable. NumPy alone."""
