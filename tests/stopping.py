"""What ends a training in the middle, as a kill would."""

from mtl.training import loop


def stop_after(patch, n_saves):
    """The process ends right after it has written the state for the nth time."""
    return _stop_when(patch, lambda saved: len(saved) == n_saves)


def stop_at(patch, step):
    """The process ends right after it has written the state of this step.

    With `save_every=step` that is soon: writing the states of all steps before takes a while.
    """
    return _stop_when(patch, lambda saved: saved[-1]["update"]["step"] == step)


def _stop_when(patch, is_last):
    save, saved = loop.save_state, []

    def save_and_stop(folder, state):
        save(folder, state)
        saved.append(state)
        if is_last(saved):
            raise KeyboardInterrupt

    patch.setattr(loop, "save_state", save_and_stop)
    return saved
