import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Texts:
    """Texts, the domain that each comes from, and where they come from.

    Attributes
    ----------
    texts : tuple of str
        The texts.
    domains : tuple of str
        The domain of each text.
    absent : tuple of str
        Domains of which this machine has no text.
    description, licence : str
        What the texts are, and under which terms.

    Examples
    --------
    >>> corpus = Texts(("a b", "c", "d"), ("first", "second", "first"), (), "letters", "none")
    >>> corpus.of("first"), corpus.names, corpus.sha256[:8]
    (('a b', 'd'), ('first', 'second'), '2662120c')
    """

    texts: tuple[str, ...]
    domains: tuple[str, ...]
    absent: tuple[str, ...]
    description: str
    licence: str

    @property
    def names(self) -> tuple[str, ...]:
        """The domains, each once, in the order of their first text."""
        return tuple(dict.fromkeys(self.domains))

    @property
    def sha256(self) -> str:
        """Checksum of the texts with their domains, in their order."""
        digest = hashlib.sha256()
        for domain, text in zip(self.domains, self.texts, strict=True):
            digest.update(f"{domain}\0{text}\0".encode())
        return digest.hexdigest()

    def of(self, domain: str) -> tuple[str, ...]:
        """Return the texts of one domain.

        Raises
        ------
        ValueError
            If there is none.
        """
        found = tuple(text for text, its in zip(self.texts, self.domains, strict=True) if its == domain)
        if not found:
            raise ValueError(f"domain must be one of {', '.join(self.names)}; got {domain!r}")
        return found

    def without(self, domain: str) -> "Texts":
        """Return the texts of all other domains."""
        kept = [(text, its) for text, its in zip(self.texts, self.domains, strict=True) if its != domain]
        texts, domains = zip(*kept, strict=True) if kept else ((), ())
        return Texts(texts, domains, self.absent, self.description, self.licence)
