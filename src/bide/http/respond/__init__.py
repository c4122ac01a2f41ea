"""The page behind a response link: a form for an answer."""
