"""Model folders go in; a service that other programs call over HTTP comes out (`mtl serve`).

Nothing is imported here: all files of this package but `settings` need the extra `serve`, which the
command asks for.
"""
