"""Two streams over one clip model and the mixers that synchronise them (paper 3.2, Eq. 4-10,
13)."""
