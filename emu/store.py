"""The one place all writes enter: versioned, watchable objects."""
