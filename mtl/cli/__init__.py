"""The command line: words of a shell go in; results come out on stdout, messages on stderr."""
