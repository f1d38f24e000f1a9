"""A trained model and its history go in; plots, report files and well-known cases come out."""
