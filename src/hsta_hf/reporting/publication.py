"""What whoever publishes a model has to say of it, because no run knows it."""

from __future__ import annotations

from dataclasses import dataclass


class PublicationError(ValueError):
    """What was said of a publication cannot be."""


@dataclass(frozen=True)
class Publication:
    """A model on its way to somebody else.

    Attributes:
        repo_id: its repository, `org/name`; None where it has none yet.
        license: the licence of the weights as the Hub spells it (`cc-by-nc-4.0`), or `other`.
        license_name: name of a licence that the Hub has no word for.
        license_link: where that one can be read.
        hardware: what the training ran on, in place of what the run noted.

    Raises:
        PublicationError: the licence is `other` without a name, or has one although it is not.
    """

    repo_id: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    hardware: str | None = None

    def __post_init__(self) -> None:
        if self.license == "other" and not self.license_name:
            raise PublicationError(
                "the licence is `other`, which needs a name: --license-name NAME, and --license-link ADDRESS where "
                "it can be read."
            )
        if self.license != "other" and (self.license_name or self.license_link):
            raise PublicationError("a licence's name or link goes with --license other only.")

    @property
    def license_text(self) -> str | None:
        """The licence as the card's text calls it; None where none is given."""
        if self.license != "other":
            return self.license
        return f"[{self.license_name}]({self.license_link})" if self.license_link else self.license_name


UNPUBLISHED = Publication()
