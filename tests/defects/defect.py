"""A defect as data: one edit of the code that a named test must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class RottenDefectError(Exception):
    """The defect does not fit the code any more."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is broken, and who must notice.

    Attributes:
        name: what the broken code does wrong.
        file: where, relative to the root of the repository.
        text: what stands there now; it must be found exactly once.
        instead: what stands there when it is broken; legal code, so that it fails by what it does.
        test: the cheapest test (or file) that must turn red, as pytest takes it.
    """

    name: str
    file: str
    text: str
    instead: str
    test: str

    def put_back(self, root: Path) -> None:
        """Break the code below ``root``.

        Raises:
            RottenDefectError: the text is not there, or more than once.
        """
        path = root / self.file
        path.write_text(self.broken(path.read_text()))

    def broken(self, source: str) -> str:
        """Return the source with the defect in it; raises RottenDefectError if it does not fit."""
        if (found := source.count(self.text)) != 1:
            raise RottenDefectError(
                f"{self.name!r}: its text is found {found} times in {self.file}, not once"
            )
        return source.replace(self.text, self.instead)
