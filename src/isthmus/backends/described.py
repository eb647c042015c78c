"""What of ours an API keeps, for `explain`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Described:
    """`show` is a command of whoever keeps it; `removes` says what of ours takes the object away."""

    table: str
    key: str
    id: str
    name: str
    show: str
    removes: str

    def called(self, word: str, digits: int) -> bool:
        """Its key, name or id; of an id the first `digits` are enough."""
        return word in (self.key, self.name, self.id) or (len(word) >= digits and self.id.startswith(word))

    def as_json(self) -> dict[str, str]:
        return {
            "table": self.table,
            "key": self.key,
            "id": self.id,
            "name": self.name,
            "show": self.show,
            "removes": self.removes,
        }
