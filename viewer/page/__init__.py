"""The self-contained web player: payload and page."""
