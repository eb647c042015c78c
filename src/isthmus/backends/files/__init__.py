"""Documents in files: read (`load`, `load_lenient`) and edited (`edit.disconnect`)."""

from isthmus.backends.files.load import load, load_lenient

__all__ = ["load", "load_lenient"]
