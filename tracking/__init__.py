"""Freeze-time video -> cameras, dense depth and dense 3-D tracks (paper Sec. 3.4)."""
