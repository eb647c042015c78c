"""Guests: the machines that Nova boots, their image, and how to reach into them."""
