"""What a search for bodies is unsure of, by its notes."""

UNEXPLAINED = 0.2  # of the variance of latents: a window with a larger error is not explained
CLOSE, CLOSE_TURN = 1.05, 1.02  # an error of so much the least may still be that of the right axes, way
UNSURE_AXES, UNSURE_MARGIN, UNSURE_SHARE = 0.5, 0.02, 0.15  # agreement; relative; of the windows


def doubts_of(notes):
    """Sentences on what a search is unsure of, none where it is sure."""
    doubts = []
    if notes.get("agreement", 1.0) < UNSURE_AXES:
        doubts.append(
            f"only {notes['agreement']:.0%} of the searches for axes agree: the axes may be mixed; "
            "give more videos, or another seed"
        )
    errors = sorted(error for *_, error in notes.get("contenders", []))
    if len(errors) > 1 and errors[1] < (1 + UNSURE_MARGIN) * errors[0]:
        doubts.append(
            "which axes make a body, and which way they lie, is hardly told: errors "
            f"{errors[0]:.3f} and {errors[1]:.3f} on held-out videos; give more videos"
        )
    walls_alone = notes.get("held out, walls alone", float("inf"))
    if errors and errors[0] >= walls_alone:
        doubts.append(
            "bodies that meet explain held-out videos no better than bodies that pass through each other: "
            f"errors {errors[0]:.3f} and {walls_alone:.3f}; give more videos, with more varied starts"
        )
    if notes.get("unexplained", 0.0) > UNSURE_SHARE:
        doubts.append(
            f"{notes['unexplained']:.0%} of the windows are not explained by two bodies between walls: "
            "predictions will often be wrong"
        )
    return doubts
