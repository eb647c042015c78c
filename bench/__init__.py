"""Figures of the documentation, measured with their references in the same run: `./run bench [FIGURE…]`."""
