"""The notes as tables: NumPy, float64; no torch, no randomness, no files."""
