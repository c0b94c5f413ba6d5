"""Surface that the canonical time hides gets points at the times that show it."""
