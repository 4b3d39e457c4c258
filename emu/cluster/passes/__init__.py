"""The passes of `resolve`: one file each, in the order of `resolve.PASSES`. Pure functions (topology, objects, now) →
objects; what does not change stays the same object."""
