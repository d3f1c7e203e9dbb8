"""Planning units, applying plans, and what the two say of each other."""
