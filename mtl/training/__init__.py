"""A model, tasks and a configuration go in; a trained model and its history come out."""
