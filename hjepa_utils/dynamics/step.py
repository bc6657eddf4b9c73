"""What a step of Hamilton's equations is: a function with what is true of it."""

from collections.abc import Callable
from functools import partial, update_wrapper
from inspect import signature

HALF_KICK_DRIFT_HALF_KICK = ((1 / 2, 0), (0, 1), (1 / 2, 0))


class Step:
    """Called as `step(hamiltonian, z, dt)`: (…, D) → (…, D), with z = (q, p) along the last axis.

    `name`; `order` (of the local error's power, less one) and `joint_order`, the same for an H that is
    not T(p) + V(q); `stages`, a (kick, drift) per evaluation of ∇H where the step is a sequence of
    those, in units of dt; `implicit`, whether it solves an equation; `copies` of z that it moves side
    by side; `jacobian(hamiltonian, z, dt)`, ∂z'/∂z where torch.func cannot differentiate the step,
    with the same options as the step.
    A new step is a function with these facts. Fast rollouts use the `stages`, if there are any, and not the
    function; `predictors.STEPS` names the steps that are saved with a model.
    """

    def __init__(
        self,
        advance: Callable,
        *,
        order=None,
        joint_order=None,
        stages=None,
        implicit=False,
        copies=1,
        jacobian=None,
    ):
        update_wrapper(self, advance)  # name, docstring and source are the function's
        self.name, self.advance = getattr(advance, "__name__", repr(advance)), advance
        self.order = order
        self.joint_order = order if joint_order is None else joint_order
        self.stages, self.implicit, self.copies, self.jacobian = stages, implicit, copies, jacobian

    def __call__(self, hamiltonian, z, dt):
        return self.advance(hamiltonian, z, dt)

    def __repr__(self):
        return self.name

    def __reduce__(self):  # pickled and copied by name, as a function is
        return self.name

    def with_options(self, **options):
        """The same step with other options, such as `tao_step.with_options(binding=2.0)`.

        Raises `ValueError` for an option that the step, or the Jacobian it brings, does not take.
        """
        for name, function in {f"{self}": self.advance, f"the Jacobian of {self}": self.jacobian}.items():
            try:
                signature(function or self.advance).bind("hamiltonian", "z", "dt", **options)
            except TypeError as error:
                raise ValueError(f"{name} does not take these options: {error}") from None
        jacobian = self.jacobian and partial(self.jacobian, **options)
        facts = {k: getattr(self, k) for k in ("order", "joint_order", "stages", "implicit", "copies")}
        other = Step(partial(self.advance, **options), jacobian=jacobian, **facts)
        other.name = f"{self.name}({', '.join(f'{k}={v}' for k, v in options.items())})"
        return other


def declared(**facts):
    """Decorator: the function as a `Step` with these facts."""
    return partial(Step, **facts)


def as_step(step):
    """A `Step` as it is; any other function of (hamiltonian, z, dt) as a step of which nothing is known."""
    if isinstance(step, Step):
        return step
    if isinstance(step, partial) and isinstance(step.func, Step) and not step.args:
        return step.func.with_options(**step.keywords)
    if not callable(step):
        raise ValueError(f"a step is a function of (hamiltonian, z, dt), got {step!r}")
    return Step(step)
