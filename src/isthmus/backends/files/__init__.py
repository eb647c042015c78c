"""Documents in files: read (`load`, `load_lenient`) and edited (`edit.disconnect`)."""

from isthmus.backends.files.load import Reader, load, load_lenient

__all__ = ["Reader", "load", "load_lenient"]
