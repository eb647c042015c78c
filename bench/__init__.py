"""Figures of the documentation, measured with their references in the same run (DESIGN §8): `./run bench [FIGURE…]`."""
