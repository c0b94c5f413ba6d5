"""Animated glTF assets rendered as training grids (paper 3.3, (2))."""
