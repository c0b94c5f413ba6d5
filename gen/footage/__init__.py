"""The user's own footage -> VideoGrid: readers of the formats that others write, and clip pairs."""
