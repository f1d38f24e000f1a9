"""The command line: what was typed goes in; results come out on stdout, messages on stderr."""
