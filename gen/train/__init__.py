"""The training loop, its options and presets, mixing of data, several processes."""
