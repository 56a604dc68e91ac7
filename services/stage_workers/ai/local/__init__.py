"""The provider that needs no network and no key: pure functions, the same bytes each time."""
