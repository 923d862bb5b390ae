"""Items that are fetched, for tests of what is read of a source."""


class Fetched:
    """A source over a tensor that notes how many items each fetch asked for."""

    def __init__(self, items):
        self._items, self.sizes = items, []
        self.device = items.device

    def __len__(self):
        return len(self._items)

    def fetch(self, idx):
        self.sizes.append(len(idx))
        return self._items[idx]
