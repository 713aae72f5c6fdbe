"""The rules: one small function each, its code, its severity, and the long text that `harness explain` prints."""
