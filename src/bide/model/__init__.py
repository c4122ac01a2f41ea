"""Values only: what happens, what there is, and how both are written down."""
