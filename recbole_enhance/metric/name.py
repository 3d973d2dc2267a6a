"""The name of a metric in a list of some length: ``ndcg@20``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric and the length of the lists that it looks at.

    Attributes:
        name: In lower case.
        k: The length; 0 where it has none, as AUC.
    """

    name: str
    k: int = 0

    @classmethod
    def parse(cls, text: object) -> "Metric":
        """Read ``NAME@K`` or ``NAME``; what follows ``@`` and is no length belongs to the name.

        Example:
            >>> Metric.parse("NDCG@20"), Metric.parse("AUC")
            (Metric(name='ndcg', k=20), Metric(name='auc', k=0))
        """
        name, _, k = str(text).lower().partition("@")
        if k.isascii() and k.isdigit() and int(k) > 0:
            return cls(name, int(k))
        return cls(str(text).lower())

    def __str__(self) -> str:
        return f"{self.name}@{self.k}" if self.k else self.name
