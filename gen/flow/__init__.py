"""Rectified flow: the objective, the samplers and the sliding windows. Knows no network."""
