"""What callers send and read: queries, bodies, shapes, pages of lists, addresses."""
