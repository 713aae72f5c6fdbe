"""Floor 5: enumerate, run, judge, keep. Cells in, results out; emits what happens as plain values."""
