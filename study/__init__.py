"""The study's document: made from extracts of its runs, so that no figure in it is typed by hand."""
