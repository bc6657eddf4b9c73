"""Weights in a safetensors file: whole, and floating-point numbers."""

from safetensors import SafetensorError, safe_open

FLOATS = ("F64", "F32", "F16", "BF16")  # as safetensors names them


def read_weights(file, integers=()):
    """The tensors in a file by name, on the CPU; those named in `integers` may be of any kind.

    Raises `ValueError` for a damaged file and for what `check_floats` refuses.
    """
    check_floats(file, integers)
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def check_floats(file, integers=()):
    """`ValueError` for weights that are no floating-point numbers of 16 bits or more, but for `integers`.

    Integers and floats of 8 bits are what quantisation makes: without its scales they are other weights.
    """
    try:
        with safe_open(file, "pt") as opened:
            kinds = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is damaged ({error}): save the model again") from error
    for name, kind in kinds.items():
        if kind not in FLOATS and name not in integers:
            raise ValueError(
                f"{file} holds {name} in {kind}: weights are read in {', '.join(FLOATS)} alone, "
                "so take the model as it was before it was quantised, or save it in float32"
            )
