"""Every test here may use the lab's fixtures."""

from isthmus.lab.pytest_plugin import lab_factory, three_sites, two_sites

__all__ = ["lab_factory", "three_sites", "two_sites"]
