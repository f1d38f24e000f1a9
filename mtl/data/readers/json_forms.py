"""Which form is this JSON? A file's text, or records in memory, go in; the reader comes out."""
