"""Plans beside the schedulers of `diffusers`: every x after every step, on one model function.

It is no dependency of ours, and without it all of this is skipped (docs/diffusers.md). Its `timestep`
is our t - 1. Where the definitions differ, the difference is written out here in a few lines, and
agreement is asked for again with it: nothing is left unexplained. #9384 and the like are its issues.
"""

from __future__ import annotations

import inspect
import math
import sys

import numpy as np
import pytest
import torch

from alphabar.sampling import clip, trajectory
from alphabar.theory.plans import Plan, karras, log_snr, make_plan, trailing
from alphabar.theory.schedule import Schedule

diffusers = pytest.importorskip("diffusers")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),  # NumPy 2 on its tensors
    pytest.mark.filterwarnings("ignore::UserWarning"),  # our advice, such as on Heun from cosine's T
]

DDPM, DDIM, PNDM = diffusers.DDPMScheduler, diffusers.DDIMScheduler, diffusers.PNDMScheduler
DPM, DEIS = diffusers.DPMSolverMultistepScheduler, diffusers.DEISMultistepScheduler
UNIPC, IPNDM = diffusers.UniPCMultistepScheduler, diffusers.IPNDMScheduler
SA = diffusers.SASolverScheduler
EULER, ANCESTRAL = diffusers.EulerDiscreteScheduler, diffusers.EulerAncestralDiscreteScheduler
HEUN, EDM_EULER = diffusers.HeunDiscreteScheduler, diffusers.EDMEulerScheduler
IN_SIGMA = (EULER, ANCESTRAL, HEUN, EDM_EULER)  # their state is x / sqrt(alpha_bar)
KINDS = (DDPM, DDIM, PNDM, DPM, DEIS, UNIPC, SA, IPNDM, *IN_SIGMA)

SCHEDULES = {"linear": Schedule.linear(1000), "squaredcos_cap_v2": Schedule.cosine(1000)}
each_schedule = pytest.mark.parametrize("name", SCHEDULES)
each_order = pytest.mark.parametrize("order", [1, 2, 3])

RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.standard_normal((3, 1, 1, 2)))
Z = torch.from_numpy(RNG.standard_normal((1001, 3, 1, 1, 2)))  # the noise of each row, for both sides
MEANS, VARIANCES, WEIGHTS = torch.tensor(
    [[-0.8, 0.3, 1.1], [0.02, 0.1, 0.05], [0.3, 0.5, 0.2]], dtype=torch.float64
)


class Float64:
    """A library in which float32 is another name of float64."""

    def __init__(self, library):
        self.library = library

    def __getattr__(self, name):
        return getattr(self.library, "float64" if name == "float32" else name)


class Row:
    """Which row is being made, for the noise."""

    now = 0


@pytest.fixture(autouse=True)
def precision(request, monkeypatch):
    """Schedulers keep tables and states in float32 by name: the name is swapped, so that rounding
    hides no difference. `indirect` float32 leaves them as they are released."""
    dtype = getattr(request, "param", torch.float64)
    for module in (sys.modules[kind.__module__] for kind in KINDS):
        if dtype is torch.float64:
            for library in ("torch", "np"):
                if hasattr(module, library):
                    monkeypatch.setattr(module, library, Float64(getattr(module, library)))
        if hasattr(module, "randn_tensor"):
            monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: Z[Row.now].to(dtype))
    torch.set_default_dtype(dtype)
    yield dtype
    torch.set_default_dtype(torch.float32)


def eps(schedule, x, t):
    """The ideal eps_hat(x, t) for a mixture of three normal distributions: smooth, and far from affine."""
    bar = float(schedule.alpha_bar_at(t))
    alpha, variance = math.sqrt(bar), bar * VARIANCES + 1 - bar
    off = x.double()[..., None] - alpha * MEANS
    share = torch.softmax(WEIGHTS.log() - variance.log() / 2 - off**2 / (2 * variance), -1)
    x_0 = (share * (MEANS + alpha * VARIANCES * off / variance)).sum(-1)
    return ((x.double() - alpha * x_0) / math.sqrt(1 - bar)).to(x.dtype)


def make(scheduler, name="linear", steps=None, **config):
    """A scheduler on our schedule, with nothing clipped and `trailing` times unless asked otherwise."""
    accepted = inspect.signature(scheduler).parameters
    general = {
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "beta_schedule": name,
        "timestep_spacing": "trailing",
        "clip_sample": False,
    }
    made = scheduler(**{k: v for k, v in general.items() if k in accepted} | config)
    if steps is not None:
        made.set_timesteps(steps)
    return made


def times_of(scheduler, end=0.0):
    """Where it goes, as our times (each once)."""
    return np.append(np.unique(scheduler.timesteps.numpy().astype(np.float64) + 1)[::-1], end)


def theirs(schedule, scheduler, network=None, x=X, **options):
    """x after each of its steps, started as a pipeline starts it."""
    network = network or (lambda x, timestep: eps(schedule, x, timestep + 1))
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    states, x = [], x.to(torch.get_default_dtype())
    in_sigma = isinstance(scheduler, IN_SIGMA)
    if in_sigma:
        x = x * (scheduler.sigmas[0] ** 2 + 1) ** 0.5
    for Row.now, t in enumerate(scheduler.timesteps):
        out = network(scheduler.scale_model_input(x, t), float(t))
        x = scheduler.step(out, t, x, **options).prev_sample
        states.append(x / (scheduler.sigmas[Row.now + 1] ** 2 + 1) ** 0.5 if in_sigma else x)
    return torch.stack(states)


def ours(schedule, plan, asked=None, x=X, **options):
    """x after each row of a plan; `asked`: the times that the network sees, if not the plan's own."""
    rows = iter(range(plan.num_evaluations))

    def denoise(x, t, cond):
        k = next(rows)
        bar = plan.alpha_bar[k]
        return (x - math.sqrt(1 - bar) * eps(schedule, x, t if asked is None else asked[k])) / math.sqrt(bar)

    steps = trajectory(denoise, plan, x.to(torch.get_default_dtype()), lambda k: Z[k].to(x.dtype), **options)
    return torch.stack([step.x_s.to(torch.get_default_dtype()) for step in steps])


def assert_same(a, b, atol=1e-9):
    assert a.shape == b.shape
    apart = (a - b).abs().flatten(1).amax(1)
    assert torch.all(apart < atol), f"apart after each step: {apart.tolist()}"  # a NaN fails too


def by_rows(plans, orders):
    """The plan whose row k is that of plans[orders[k]]."""
    first, most = plans[max(orders)], max(orders)
    A, C, B = first.A.copy(), first.C.copy(), np.zeros((len(orders), most))
    for k, order in enumerate(orders):
        plan = plans[order]
        width = min(most, plan.B.shape[1])
        A[k], C[k], B[k, :width] = plan.A[k], plan.C[k], plan.B[k, :width]
    return Plan(first.times, first.alpha_bar, A, B, C, first.history)


def ratios(schedule, times):
    """sigma_k = sqrt(1 - alpha_bar) / sqrt(alpha_bar) and alpha_k at times, as they write them."""
    bar = schedule.alpha_bar_at(times)
    return np.sqrt((1 - bar) / bar), np.sqrt(bar)


# --- schedules and times -------------------------------------------------------------------------


@each_schedule
def test_the_tables_are_the_same(name):
    for scheduler in (DDPM, DDIM, DPM, DEIS, UNIPC, SA, PNDM, EULER, ANCESTRAL, HEUN):
        made = make(scheduler, name)
        np.testing.assert_allclose(made.betas.numpy(), SCHEDULES[name].beta[1:], rtol=1e-11)
        np.testing.assert_allclose(made.alphas_cumprod.numpy(), SCHEDULES[name].alpha_bar[1:], rtol=1e-13)


def test_trailing_times_differ_only_by_rounding_halves_and_one_time_too_many():
    """We round halves up, they to the even side (or where np.arange has rounded before). And
    np.arange(1000, 0, -1000 / N) has N + 1 numbers for 62 of the N, the last 1e-13 for 0: timestep -1."""
    other_side, too_many = 0, []
    for steps in range(1, 1001):
        expected = trailing(SCHEDULES["linear"], 1000, steps)[:-1]
        got = make(DDIM, steps=steps).timesteps.numpy() + 1
        if len(got) > steps:
            assert got[steps:].tolist() == [0]
            too_many.append(steps)
        exact = 1000 * np.arange(steps, 0, -1) / steps
        half = np.isclose(exact % 1, 0.5, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(got[:steps][~half], expected[~half])
        np.testing.assert_array_equal(expected[half], exact[half] + 0.5)
        np.testing.assert_array_equal(np.abs(got[:steps][half] - exact[half]), 0.5)
        other_side += np.count_nonzero(got[:steps] != expected)
    assert other_side
    assert len(too_many) == 62
    assert too_many[:3] == [61, 103, 121]


def test_their_time_too_many_ruins_the_sample():
    """At timestep -1 the table is read from its end: x_0 is taken for x_T, and divided by 0.0064."""
    schedule, scheduler = SCHEDULES["linear"], make(DDPM, steps=61)

    def network(x, timestep):
        return eps(schedule, x, max(timestep + 1, 1))

    got = theirs(schedule, scheduler, network)
    assert_same(got[:61], ours(schedule, make_plan(schedule, "ddpm", 61)))
    sigma, alpha = ratios(schedule, 1000)
    assert_same(got[61:], (got[60:61] - sigma * alpha * eps(schedule, got[60:61], 1)) / alpha)
    assert got[61].abs().max() > 10


@pytest.mark.parametrize(("steps", "first"), [(1, 0), (5, 800), (50, 980)])
def test_their_leading_times_do_not_begin_at_the_top(steps, first):
    """#2585: `leading`, the default of DDPM, DDIM and PNDM; `linspace` with one step too."""
    assert make(DDIM, steps=steps, timestep_spacing="leading").timesteps[0] == first
    assert make(DDIM, steps=1, timestep_spacing="linspace").timesteps[0] == 0
    assert make_plan(SCHEDULES["linear"], "ddim", steps).times[0] == 1000


def test_their_offset_leads_beyond_the_table():
    """#10003: steps_offset 1, which Stable Diffusion's configuration has, with all 1000 steps."""
    for kind in (DDPM, DDIM):
        scheduler = make(kind, steps=1000, timestep_spacing="leading", steps_offset=1)
        with pytest.raises(IndexError, match="index 1000 is out of bounds"):
            scheduler.step(X, scheduler.timesteps[0], X)


# --- where the definitions agree -----------------------------------------------------------------

# Heun's first correction on cosine adds many times (x0_hat_t - x0_hat_s), 62 times with 20 steps, and with it
# the rounding of either side's first step; PNDM's too. In float32 both are some hundredths off the exact one.
STEEP = {torch.float64: 1e-7, torch.float32: 0.1}
AGREE = {  # scheduler, its settings, options of its step, our sampler, our options, least steps, the end
    "ddpm": (DDPM, {}, {}, "ddpm", {}, 1, 0),
    "ddim 0": (DDIM, {}, {"eta": 0.0}, "ddim", {"eta": 0.0}, 1, 0),
    "ddim 0.5": (DDIM, {}, {"eta": 0.5}, "ddim", {"eta": 0.5}, 1, 0),
    "ddim 1": (DDIM, {}, {"eta": 1.0}, "ddim", {"eta": 1.0}, 1, 0),
    # DDIM and DDPM in x / sqrt(alpha_bar)
    "euler": (EULER, {}, {}, "ddim", {}, 1, 0),
    "ancestral": (ANCESTRAL, {}, {}, "ddpm", {}, 1, 0),
    "heun": (HEUN, {}, {}, "heun", {}, 1, 0),
    "dpm++ 1": (DPM, {"solver_order": 1}, {}, "dpmpp", {"order": 1}, 1, 0),
    "dpm++ 2": (DPM, {"solver_order": 2}, {}, "dpmpp", {"order": 2}, 3, 0),
    "dpm++ 2, final": (DPM, {"solver_order": 2, "lower_order_final": False}, {}, "dpmpp", {"order": 2}, 3, 0),
    # it ends at its sigma_min, our t = 1, where lambda is finite; below 15 steps it lowers the order
    "dpm++ 2, sigma_min": (DPM, {"final_sigmas_type": "sigma_min"}, {}, "dpmpp", {"order": 2}, 15, 1),
    "sde 1": (
        DPM,
        {"solver_order": 1, "algorithm_type": "sde-dpmsolver++"},
        {},
        "dpmpp",
        {"order": 1, "eta": 1.0},
        1,
        0,
    ),
    "sde 2": (DPM, {"algorithm_type": "sde-dpmsolver++"}, {}, "dpmpp", {"order": 2, "eta": 1.0}, 3, 0),
    "unipc 1": (UNIPC, {"solver_order": 1}, {}, "unipc", {"order": 1}, 1, 0),
    "unipc 2": (UNIPC, {"solver_order": 2}, {}, "unipc", {"order": 2}, 3, 0),
    # DEIS too ends at t = 1, and lowers the order below 15 steps
    "deis 1": (DEIS, {"solver_order": 1}, {}, "deis", {"order": 1}, 1, 1),
    "deis 2": (DEIS, {"solver_order": 2}, {}, "deis", {"order": 2}, 15, 1),
    "deis 3": (DEIS, {"solver_order": 3}, {}, "deis", {"order": 3}, 15, 1),
}


def both(case, name, steps):
    kind, config, step_options, sampler, options, _, end = AGREE[case]
    schedule, scheduler = SCHEDULES[name], make(kind, name, steps, **config)
    times = times_of(scheduler, end)
    np.testing.assert_array_equal(times[:-1], trailing(SCHEDULES["linear"], 1000, steps)[:-1])
    plan = make_plan(schedule, sampler, times=times, **options)
    return theirs(schedule, scheduler, **step_options), ours(schedule, plan)


@each_schedule
@pytest.mark.parametrize(
    ("case", "steps"),
    [(c, n) for c, entry in AGREE.items() for n in (1, 2, 5, 10, 20, 50, 200) if n >= entry[-2]],
)
def test_they_agree_at_every_step(case, name, steps):
    steep = case == "heun" and name != "linear"
    assert_same(*both(case, name, steps), STEEP[torch.float64] if steep else 1e-9)


@pytest.mark.parametrize("precision", [torch.float32], indirect=True)
@pytest.mark.parametrize(("name", "atol"), [("linear", 5e-5), ("squaredcos_cap_v2", 5e-3)])
@pytest.mark.parametrize("case", AGREE)
def test_they_agree_as_released(case, name, atol, precision):
    """In float32, as it comes. On cosine sqrt(alpha_bar_T) is 5e-5, and float32 has only a few digits
    of its table's end."""
    a, b = both(case, name, 20)
    assert a.dtype == b.dtype == precision
    assert_same(a, b, STEEP[precision] if case == "heun" and name != "linear" else atol)


@each_schedule
def test_all_1000_steps_agree(name):
    schedule = SCHEDULES[name]
    for variance, of_ours in (("fixed_small", "posterior"), ("fixed_large", "beta")):
        scheduler = make(DDPM, name, 1000, variance_type=variance)
        assert_same(
            theirs(schedule, scheduler), ours(schedule, make_plan(schedule, "ddpm", 1000, variance=of_ours))
        )
    scheduler = make(DDIM, name, 1000)
    assert_same(
        theirs(schedule, scheduler, eta=0.5),
        ours(schedule, make_plan(schedule, "ddim", 1000, spacing="trailing", eta=0.5)),
    )


# --- DDPM and DDIM -------------------------------------------------------------------------------


@each_schedule
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing", [999, 700, 699, 123, 4]])
@pytest.mark.parametrize(("variance", "of_ours"), [("fixed_small", "posterior"), ("fixed_large", "beta")])
def test_ddpm_on_any_times(name, spacing, variance, of_ours):
    """The pairs of times are those of the spacing, for N that don't divide 1000 as well (#2076, #9384)."""
    schedule = SCHEDULES[name]
    scheduler = make(DDPM, name, variance_type=variance)
    if isinstance(spacing, list):
        scheduler.set_timesteps(timesteps=spacing)
    else:
        scheduler.register_to_config(timestep_spacing=spacing)
        scheduler.set_timesteps(30)
    times = times_of(scheduler)
    plan = make_plan(schedule, "ddpm", times=times, variance=of_ours)
    expected = ours(schedule, plan)
    if variance == "fixed_large" and times[-2] > 1:
        # Its last step to x_0 adds noise, as of any step: it asks `t > 0`, and not whether the next is 0.
        # (With fixed_small its variance is 1e-20 there, from a clamp.)
        expected[-1] += math.sqrt(1 - schedule.alpha_bar_at(times[-2])) * Z[len(times) - 2]
    assert_same(theirs(schedule, scheduler), expected)


@each_schedule
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("spacing", "steps"), [("trailing", 30), ("linspace", 10), ("leading", 30)])
def test_ddim_goes_to_another_time_than_its_next(name, eta, spacing, steps):
    """#11347, #12633: each step goes from t to t - 1000 // N (0 if below), whatever the times say next,
    where the network is then asked. Our rows for those very pairs give the same numbers."""
    schedule, scheduler = SCHEDULES[name], make(DDIM, name, steps, timestep_spacing=spacing)
    times = times_of(scheduler)
    goes_to = np.maximum(times[:-1] - 1000 // steps, 0)
    rows = [make_plan(schedule, "ddim", times=pair, eta=eta) for pair in zip(times[:-1], goes_to)]
    A, B, C = (np.concatenate([getattr(row, entry) for row in rows]) for entry in "ABC")
    plan = Plan(times, schedule.alpha_bar_at(times), A, B, C)
    got = theirs(schedule, scheduler, eta=eta)
    assert_same(got, ours(schedule, plan))
    right = ours(schedule, make_plan(schedule, "ddim", times=times, eta=eta))
    if spacing == "leading":  # whose steps are 1000 // N, by definition
        assert_same(got, right)
    else:
        assert (got - right).abs().max() > 1e-3


@each_schedule
def test_ddim_without_set_alpha_to_one_ends_at_1(name):
    """#6068, #7128: the last step goes to their index 0, our t = 1; its noise stays in the sample."""
    schedule, scheduler = SCHEDULES[name], make(DDIM, name, 20, set_alpha_to_one=False)
    assert_same(
        theirs(schedule, scheduler, eta=0.5),
        ours(schedule, make_plan(schedule, "ddim", times=times_of(scheduler, 1), eta=0.5)),
    )


@each_schedule
def test_clipping_x0(name):
    """DDPM clips as we do, and DDIM if told to follow up eps_hat; by default it keeps the network's."""
    schedule = SCHEDULES[name]
    options = {"clip_sample": True, "clip_sample_range": 0.5}
    on_x0 = [clip(-0.5, 0.5)]
    plan = make_plan(schedule, "ddpm", 20)
    assert_same(theirs(schedule, make(DDPM, name, 20, **options)), ours(schedule, plan, on_x0=on_x0))
    plan = make_plan(schedule, "ddim", 20, spacing="trailing")
    expected = ours(schedule, plan, on_x0=on_x0)
    scheduler = make(DDIM, name, 20, **options)
    assert_same(theirs(schedule, scheduler, use_clipped_model_output=True), expected)

    got = theirs(schedule, scheduler)
    sigma, alpha = ratios(schedule, plan.times)
    for k, (before, after) in enumerate(zip([X, *got], got)):
        eps_hat = eps(schedule, before, plan.times[k])
        x_0 = (before / alpha[k] - sigma[k] * eps_hat).clamp(-0.5, 0.5)
        assert_same(after, alpha[k + 1] * (x_0 + sigma[k + 1] * eps_hat))
    assert (got - expected).abs().max() > 1e-2


# --- DPM-Solver++ --------------------------------------------------------------------------------


def dpm_orders(steps, order, lower):
    """Of each step: warm-up, 1 for the last (to sigma 0), and 2 for the one before below 15 steps."""
    orders = [min(order, k + 1) for k in range(steps)]
    if lower and 2 <= steps < 15:
        orders[-2] = min(orders[-2], 2)
    return [*orders[:-1], 1]


def with_their_third_order(schedule, plan, orders, eta):
    """Their coefficient of the second difference D2 in rows of order 3.

    x0_hat is m_0 + D1 u + D2 u^2 over the step, u in 0..1, where D2 is half the second derivative. With
    H = (1 + eta^2) h the exact weight of u^2 is w = ∫ H exp(-H (1 - u)) u^2 du; theirs is w / 2 in the
    ODE's form, as if D2 were the whole derivative, and w / 2 - 1 in the SDE's, where a sign is wrong too.
    """
    lam, B = schedule.lam_at(plan.times), plan.B.copy()
    for k in np.flatnonzero(np.array(orders) == 3):
        h = lam[k + 1] - lam[k]
        H = (1 + eta**2) * h
        exact = 1 - 2 / H + 2 * (1 - np.exp(-H)) / H**2
        used = {
            0.0: -((np.exp(-h) - 1 + h) / h**2 - 0.5),
            1.0: (1 - np.exp(-2 * h) - 2 * h) / (2 * h) ** 2 - 0.5,
        }[eta]
        assert used == pytest.approx(exact / 2 - eta)
        u = (lam[k - np.arange(3)] - lam[k]) / h
        D2 = [1 / np.prod(u[j] - np.delete(u, j)) for j in range(3)]
        B[k, :3] += np.sqrt(plan.alpha_bar[k + 1]) * (used - exact) * np.array(D2)
    return Plan(plan.times, plan.alpha_bar, plan.A, B, plan.C)


@each_schedule
@each_order
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize(("algorithm", "eta"), [("dpmsolver++", 0.0), ("sde-dpmsolver++", 1.0)])
def test_dpm_solver_with_any_number_of_steps(name, order, lower, algorithm, eta):
    """Their orders of each step, and their third order, are all that differs; finite for each N too."""
    schedule = SCHEDULES[name]
    config = {"solver_order": order, "lower_order_final": lower, "algorithm_type": algorithm}
    for steps in (1, 2, 3, 4, 5, 8, 14, 15, 20, 30):
        scheduler = make(DPM, name, steps, **config)
        times, orders = times_of(scheduler), dpm_orders(steps, order, lower)
        plans = {p: make_plan(schedule, "dpmpp", times=times, order=p, eta=eta) for p in set(orders)}
        plan = with_their_third_order(schedule, by_rows(plans, orders), orders, eta)
        assert_same(theirs(schedule, scheduler), ours(schedule, plan))


@pytest.mark.parametrize(("algorithm", "eta"), [("dpmsolver++", 0.0), ("sde-dpmsolver++", 1.0)])
def test_only_our_third_order_is_exact_for_a_parabola(algorithm, eta, monkeypatch):
    """x0_hat = lambda^2 whatever x is: from row 2 on, what order 3 adds must be its exact integral."""
    monkeypatch.setitem(globals(), "Z", torch.zeros_like(Z))
    schedule = SCHEDULES["linear"]
    times = trailing(SCHEDULES["linear"], 1000, 20)

    def x0(x, t, cond=None):
        return torch.full_like(x, float(schedule.lam_at(t)) ** 2)

    def network(x, timestep):
        sigma, alpha = ratios(schedule, timestep + 1)
        return (x / alpha - x0(x, timestep + 1)) / sigma

    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    plan = make_plan(schedule, "dpmpp", times=times, order=3, eta=eta)
    steps = list(trajectory(x0, plan, x, lambda _: x))
    scheduler = make(DPM, steps=20, solver_order=3, algorithm_type=algorithm)
    got = theirs(schedule, scheduler, network, x.expand(X.shape))
    kappa = 1 + eta**2
    for k in range(2, 19):
        lam_t, lam_s = schedule.lam_at(times[k : k + 2])
        lam = np.linspace(lam_t, lam_s, 20001)
        integrand = kappa * np.exp(kappa * (lam - lam_s)) * lam**2
        alpha_s = math.sqrt(schedule.alpha_bar_at(times[k + 1]))
        exact = alpha_s * float((integrand[1:] + integrand[:-1]).sum() / 2 * (lam[1] - lam[0]))
        assert float(steps[k].x_s - plan.A[k] * steps[k].x_t) == pytest.approx(exact, rel=1e-6)
        assert float(got[k, 0, 0, 0, 0] - plan.A[k] * got[k - 1, 0, 0, 0, 0]) != pytest.approx(
            exact, rel=1e-3
        )


@each_schedule
def test_only_our_third_order_is_of_third_order(name):
    """With twice the steps its error falls to an eighth, and theirs to a quarter, as of order 2."""
    schedule = SCHEDULES[name]
    fine = ours(schedule, make_plan(schedule, "dpmpp", 2000, spacing="log_snr", order=3))[-1]
    errors = []
    for steps in (160, 320):
        plan = make_plan(schedule, "dpmpp", steps, spacing="log_snr", order=3)
        times = iter(plan.times)
        scheduler = make(DPM, name, steps, solver_order=3, use_lu_lambdas=True)
        got = theirs(schedule, scheduler, lambda x, _: eps(schedule, x, next(times)))
        errors.append([float((end - fine).abs().max()) for end in (ours(schedule, plan)[-1], got[-1])])
    ratio = np.divide(*errors)
    assert 7 < ratio[0] < 10
    assert 4 < ratio[1] < 6


def test_a_scheduler_starts_anew():
    """#6631: the predictions of the sample before are gone once `set_timesteps` is called."""
    schedule, scheduler = SCHEDULES["linear"], make(DPM, steps=20, solver_order=3)
    first = theirs(schedule, scheduler)
    scheduler.set_timesteps(20)
    assert torch.equal(theirs(schedule, scheduler), first)


# --- DEIS and UniPC ------------------------------------------------------------------------------


@each_schedule
@each_order
@pytest.mark.parametrize("lower", [True, False])
def test_deis_with_any_number_of_steps(name, order, lower):
    """It ends at t = 1; below 15 steps the last is of order 1, and the one before of order 2."""
    schedule = SCHEDULES[name]
    for steps in (1, 2, 3, 4, 5, 8, 14, 15, 20, 30):
        scheduler = make(DEIS, name, steps, solver_order=order, lower_order_final=lower)
        times = times_of(scheduler, 1)
        orders = [min(order, k + 1) for k in range(steps)]
        if lower and steps < 15:
            orders = dpm_orders(steps, order, lower)
        plans = {p: make_plan(schedule, "deis", times=times, order=p) for p in set(orders)}
        assert_same(theirs(schedule, scheduler), ours(schedule, by_rows(plans, orders)))


@each_schedule
@each_order
def test_deis_until_its_last_step(name, order):
    """Of a plan that goes on to the clean sample, all but the last step is theirs."""
    schedule, scheduler = SCHEDULES[name], make(DEIS, name, 20, solver_order=order)
    expected = ours(schedule, make_plan(schedule, "deis", 20, spacing="trailing", order=order))
    got = theirs(schedule, scheduler)
    assert_same(got[:-1], expected[:-1])
    assert (got[-1] - expected[-1]).abs().max() > 1e-4


@each_schedule
@each_order
def test_unipc_with_any_number_of_steps(name, order):
    """Theirs has at most the order of the steps that are left: for order 3 the step before the last is of
    order 2 for any N, where ours keeps 3. Order 3 of both fits the parabola exactly."""
    schedule = SCHEDULES[name]
    for steps in (1, 2, 3, 4, 5, 8, 14, 15, 20, 30):
        scheduler = make(UNIPC, name, steps, solver_order=order)
        times = times_of(scheduler)
        kept = min(order, max(steps - 1, 1))  # what so few predictions allow, without a warning
        plan = make_plan(schedule, "unipc", times=times, order=kept)
        if order == 3 and steps >= 4:
            predictor = {p: make_plan(schedule, "dpmpp", times=times, order=p) for p in (2, 3)}
            B = plan.B.copy()
            B[-2, :3] += np.append(predictor[2].B[-2], 0) - predictor[3].B[-2]
            # and so the last row corrects with the order that the one before had
            B[-1, :3] = make_plan(schedule, "unipc", times=times, order=2).B[-1]
            B[-1, 3] = 0
            plan = Plan(plan.times, plan.alpha_bar, plan.A, B, plan.C)
        assert_same(theirs(schedule, scheduler), ours(schedule, plan))


def test_unipc_must_lower_its_last_order():
    """Without lower_order_final its step to sigma 0, where lambda is infinite, has no finite result."""
    schedule = SCHEDULES["linear"]
    scheduler = make(UNIPC, steps=10, solver_order=2, lower_order_final=False)
    assert not torch.isfinite(theirs(schedule, scheduler)[-1]).any()
    scheduler = make(UNIPC, steps=10, solver_order=3, lower_order_final=False)
    with pytest.raises(RuntimeError, match="singular"):
        theirs(schedule, scheduler)


# --- SA-Solver -----------------------------------------------------------------------------------


def their_sa_solver(schedule, times, predictors, correctors, etas):
    """`unipc` with these orders of each step, and with another weight of the slope.

    Where order 2 predicts or order 1 corrects, x0_hat is m + D u over the step, u in 0..1. With
    H = (1 + eta^2) h the exact weight of D is 1 - (1 - exp(-H)) / H; ours is half the weight of m,
    (1 - exp(-H)) / 2, and theirs H / 2: the B(h) = h of UniPC, where ours is e^h - 1.
    """
    plans = {
        (sampler, p): make_plan(schedule, sampler, times=times, order=p, eta=etas)
        for sampler in ("dpmpp", "unipc")
        for p in {*predictors, *correctors}
    }

    def rows(sampler, orders):
        return np.array([np.append(plans[sampler, p].B[k], [0] * 3)[:4] for k, p in enumerate(orders)])

    def one_later(B):  # what a row's weights are to the row after it
        return A[:, None] * np.pad(B, ((1, 0), (1, 0)))[:-1, :-1]

    first, before = plans["dpmpp", 1], [1, *correctors[:-1]]
    A, h = first.A, np.diff(schedule.lam_at(times))
    H = (1 + np.array(etas) ** 2) * h
    more = np.sqrt(first.alpha_bar[1:]) * (H - 1 + np.exp(-H)) / 2
    predicted, corrected = rows("dpmpp", predictors), rows("unipc", before) - rows("dpmpp", before)
    for k in range(1, len(h)):
        if predictors[k] == 2:  # D = (m_k - m_(k-1)) h_k / h_(k-1)
            predicted[k, :2] += more[k] * h[k] / h[k - 1] * np.array([1, -1])
        if correctors[k - 1] == 1:  # D = m_k - m_(k-1)
            corrected[k, :2] += A[k] * more[k - 1] * np.array([1, -1])
    B = predicted + corrected + one_later(rows("dpmpp", correctors) - predicted)
    return Plan(times, first.alpha_bar, A, B, first.C)


@each_schedule
@pytest.mark.parametrize("nodes", [(1, 2), (2, 2), (2, 3), (3, 4)])
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, None])
@pytest.mark.parametrize("lower", [True, False])
def test_sa_solver_with_any_number_of_steps(name, nodes, tau, lower):
    """Their orders count predictions: p and p + 1 are our order p; 2 and 2, the default, corrects with
    order 1. Their default tau is an eta for each row. As DEIS it ends at t = 1; noise that its last step
    adds stays in the sample."""
    config = dict(zip(("predictor_order", "corrector_order"), nodes), lower_order_final=lower)
    if tau is not None:
        config["tau_func"] = lambda _: tau
    schedule = SCHEDULES[name]
    for steps in (1, 2, 3, 4, 5, 8, 10, 15, 20, 30):
        scheduler = make(SA, name, steps, **config)
        times, etas = times_of(scheduler, 1), [float(scheduler.tau_func(t)) for t in scheduler.timesteps]
        predictors, correctors = (
            [min(p, k + 1, steps - k if lower else p) for k in range(steps)] for p in (nodes[0], nodes[1] - 1)
        )
        plan = their_sa_solver(schedule, times, predictors, correctors, etas)
        assert_same(theirs(schedule, scheduler), ours(schedule, plan))
        assert (plan.C[-1] > 0) == (etas[-1] > 0)
        if nodes == (3, 4) and not lower and steps > 3:  # past the warm-up, order 3 is ours as it stands
            plain = make_plan(schedule, "unipc", times=times, order=3, eta=etas)
            np.testing.assert_allclose(plan.B[3:], plain.B[3:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32], indirect=True)
@each_schedule
def test_sa_solver_loses_digits_that_unipc_keeps(name, precision):
    """Without noise it is their UniPC with `bh1`, up to t = 1. But its weights come from powers of lambda
    that cancel: with 200 steps of order 3 in float32, as released, it is off by up to 1e-3."""
    schedule = SCHEDULES[name]
    got = theirs(schedule, make(SA, name, 200, predictor_order=3, corrector_order=4, tau_func=lambda _: 0.0))
    config = {"solver_order": 3, "solver_type": "bh1", "final_sigmas_type": "sigma_min"}
    unipc = theirs(schedule, make(UNIPC, name, 200, **config))
    if precision is torch.float64:
        assert_same(got, unipc, 1e-11)
    else:
        assert 3e-4 < (got - unipc).abs().max() < 1e-2


# --- PNDM and iPNDM ------------------------------------------------------------------------------


def plms(schedule, times):
    """PNDM with skip_prk_steps, as a plan: `ipndm`, but for a second evaluation in the first step.

    The network is asked again at the second time, the first step is redone with the mean of the two
    eps_hat (#7217: N + 1 evaluations, one time twice), and the first answer is then forgotten.
    """
    base = make_plan(schedule, "ipndm", times=times, order=min(4, len(times) - 1))
    sigma, alpha = ratios(schedule, times)
    half = alpha[1] * (sigma[1] - sigma[0]) / 2  # of what DDIM adds of eps_hat
    noise = sigma[1] * alpha[1]
    A = np.insert(base.A, 1, 1 + half / noise)
    B = np.zeros((len(A), 5))
    B[0, 0] = base.B[0, 0]
    B[1, :2] = -half * alpha[1] / noise, -half
    for k in range(1, len(base.A)):
        row = np.insert(base.B[k], min(k, base.B.shape[1]), 0.0)
        B[k + 1, : len(row)] = row
    visited = np.insert(times, 1, times[1])
    return Plan(visited, schedule.alpha_bar_at(visited), A, B, np.zeros(len(A)), "eps")


@each_schedule
@pytest.mark.parametrize("steps", [2, 4, 5, 10, 20, 50])
def test_pndm(name, steps):
    schedule = SCHEDULES[name]
    scheduler = make(PNDM, name, steps, skip_prk_steps=True, set_alpha_to_one=True)
    assert len(scheduler.timesteps) == steps + 1
    assert scheduler.timesteps[1] == scheduler.timesteps[2]
    plan = plms(schedule, times_of(scheduler))
    atol = 1e-9 if name == "linear" else STEEP[torch.float64]
    assert_same(theirs(schedule, scheduler), ours(schedule, plan), atol)


@each_schedule
@pytest.mark.parametrize("spacing", ["trailing", "log_snr", "karras"])
def test_ipndm_on_our_process(name, spacing):
    """It takes the sigma of every time it visits as `trained_betas`, and a network that predicts v."""
    schedule = SCHEDULES[name]
    plan = make_plan(schedule, "ipndm", 20, spacing=spacing)
    sigma = np.sqrt(1 - plan.alpha_bar)
    scheduler = IPNDM(trained_betas=sigma.tolist())
    scheduler.set_timesteps(20)
    rows = iter(range(20))

    def network(x, timestep):
        k = next(rows)
        assert math.sin(timestep * math.pi / 2) == pytest.approx(sigma[k])
        eps_hat, alpha = eps(schedule, x, plan.times[k]), math.sqrt(plan.alpha_bar[k])
        return (eps_hat - sigma[k] * x) / alpha

    assert_same(theirs(schedule, scheduler, network), ours(schedule, plan))


def test_ipndm_on_its_own_process_ignores_the_first_answer():
    """Its sigma begins at 1: the first x0_hat is (x - x) / 1e-8 = 0, where v says -v. Ours stays below 1."""
    scheduler = IPNDM()
    scheduler.set_timesteps(20)
    got = theirs(None, scheduler, lambda x, timestep: torch.full_like(x, 7.0))
    assert_same(got[0], math.sin(math.pi / 2 * 0.95) ** 2 * X)


# --- Karras and other sigmas ---------------------------------------------------------------------


@each_schedule
@pytest.mark.parametrize("steps", [10, 20, 50])
@pytest.mark.parametrize(
    ("kind", "config", "sampler", "spacing"),
    [
        (DPM, {"use_karras_sigmas": True}, "dpmpp", karras),
        (DPM, {"use_lu_lambdas": True}, "dpmpp", log_snr),
        (DPM, {"use_exponential_sigmas": True}, "dpmpp", log_snr),
        (UNIPC, {"use_karras_sigmas": True}, "unipc", karras),
        (EULER, {"use_karras_sigmas": True, "timestep_spacing": "linspace"}, "ddim", karras),
        (HEUN, {"use_karras_sigmas": True, "timestep_spacing": "linspace"}, "heun", karras),
    ],
)
def test_spacings_in_sigma(name, steps, kind, config, sampler, spacing):
    """The noise levels are ours; but the multistep ones ask the network at a whole timestep nearby.

    They round it, or cut it off: for lack of a rounding with `use_exponential_sigmas`, and since #10740
    for the cosine schedule. Our plan with a network that does the same agrees to the last digits.
    """
    schedule, scheduler = SCHEDULES[name], make(kind, name, steps, **config)
    times = spacing(schedule, 1000, steps)
    plan = make_plan(schedule, sampler, times=times)
    whole = scheduler.timesteps.numpy().astype(np.float64) + 1
    off = whole - plan.times[:-1]
    got, asked = theirs(schedule, scheduler), ours(schedule, plan, asked=whole)
    assert_same(got, asked)
    if kind in (EULER, HEUN):
        assert np.abs(off).max() < 1e-9
        assert_same(got, ours(schedule, plan))
    else:
        cut = (name != "linear" and kind is DPM) or "use_exponential_sigmas" in config
        assert -(1.0 if cut else 0.5) - 1e-9 <= off.min() < -0.3
        assert (1e-9 if cut else 0.5) >= off.max()
        assert (got - ours(schedule, plan)).abs().max() > 1e-4


@pytest.mark.parametrize("precision", [torch.float32], indirect=True)
def test_their_whole_timesteps_collide(precision):
    """#12771: on cosine the first two are both cut off to 998. A run without `set_begin_index` looks for
    its place among them, takes the second, and falls off the end. Our times are real numbers, and fall."""
    scheduler = make(DPM, "squaredcos_cap_v2", 20, use_karras_sigmas=True)
    assert scheduler.timesteps[0] == scheduler.timesteps[1] == 998
    x = X.float()
    with pytest.raises(IndexError, match="index 21 is out of bounds"):
        for t in scheduler.timesteps:
            x = scheduler.step(x, t, x).prev_sample
    assert np.all(np.diff(karras(SCHEDULES["squaredcos_cap_v2"], 1000, 20)) < 0)


@each_schedule
def test_deis_with_karras_sigmas_repeats_its_last(name):
    """As DPM-Solver did before #6477: the last sigma is there twice, the last evaluation for nothing."""
    schedule, scheduler = SCHEDULES[name], make(DEIS, name, 20, use_karras_sigmas=True)
    times = karras(schedule, 1000, 20)[:-1]
    got = theirs(schedule, scheduler)
    plan = make_plan(schedule, "deis", times=times, order=2)
    assert_same(got[:-1], ours(schedule, plan, asked=scheduler.timesteps.numpy() + 1))
    assert_same(got[-1], got[-2])


@each_schedule
@pytest.mark.parametrize(("kind", "sampler"), [(EULER, "ddim"), (HEUN, "heun")])
def test_linspace_between_whole_times(name, kind, sampler):
    """Between whole times sigma is linear for them, and log sigma for us: 0.006 of a time at most."""
    schedule, scheduler = SCHEDULES[name], make(kind, name, 50, timestep_spacing="linspace")
    sigma = scheduler.sigmas.numpy()[:-1]
    times = np.append(schedule.time_at(-np.log(np.unique(sigma)[::-1])), 0)
    asked = scheduler.timesteps.numpy() + 1
    plan = make_plan(schedule, sampler, times=times)
    assert 1e-3 < np.abs(asked - plan.times[:-1]).max() < 6e-3
    assert_same(theirs(schedule, scheduler), ours(schedule, plan, asked=asked))


# --- EDM -----------------------------------------------------------------------------------------


def edm(schedule, steps, **config):
    """EDM's Euler scheduler over our noise levels, and our eps_hat as a network of its kind."""
    sigma, _ = ratios(schedule, [1000, 1])
    scheduler = EDM_EULER(sigma_max=float(sigma[0]), sigma_min=float(sigma[1]), **config)
    scheduler.set_timesteps(steps)

    def network(scaled, timestep):  # F, with denoised = c_skip y + c_out F; timestep = ln(sigma) / 4
        sigma = math.exp(4 * timestep)
        y = scaled * math.sqrt(sigma**2 + 0.25)
        x_0 = y - sigma * eps(schedule, y / math.sqrt(1 + sigma**2), schedule.time_at(-math.log(sigma)))
        return (x_0 - c_skip(sigma) * y) / c_out(sigma)

    return scheduler, network


def c_skip(sigma):
    return 0.25 / (sigma**2 + 0.25)


def c_out(sigma):
    return sigma * 0.5 / math.sqrt(sigma**2 + 0.25)


@each_schedule
@pytest.mark.parametrize(("sigmas", "spacing"), [("karras", karras), ("exponential", log_snr)])
@pytest.mark.parametrize("steps", [2, 10, 50])
def test_edm_euler(name, sigmas, spacing, steps):
    schedule = SCHEDULES[name]
    plan = make_plan(schedule, "ddim", times=spacing(schedule, 1000, steps))
    scheduler, network = edm(schedule, steps, sigma_schedule=sigmas)
    assert_same(theirs(schedule, scheduler, network), ours(schedule, plan))


@each_schedule
@pytest.mark.parametrize("kind", [EULER, EDM_EULER])
@pytest.mark.parametrize("churn", [2.0, 50.0])
def test_their_churn_asks_before_it_adds_noise(name, kind, churn):
    """`step` gets the network's answer for x at sigma, and only then adds noise up to sigma_hat and goes
    on from there as if the answer were for that; also in the last step, whose noise stays in the sample.
    EDM's Algorithm 2 asks at sigma_hat, and so does `heun`. Written out as a plan, theirs is
    y' = y + s z + (sigma_next - sigma_hat) d, with y = x / alpha and d from the answer at sigma."""
    schedule, steps = SCHEDULES[name], 10
    options = {"s_churn": churn, "s_noise": 1.007, "s_tmin": 0.05, "s_tmax": 50.0}
    if kind is EULER:
        scheduler, network, times = make(EULER, name, steps), None, trailing(SCHEDULES["linear"], 1000, steps)
    else:
        (scheduler, network), times = edm(schedule, steps), karras(schedule, 1000, steps)
    sigma, alpha = ratios(schedule, times)
    gamma = np.where((sigma[:-1] >= 0.05) & (sigma[:-1] <= 50), min(churn / steps, math.sqrt(2) - 1), 0.0)
    assert 0 < np.count_nonzero(gamma) < steps
    A, B, C = np.zeros(steps), np.zeros((steps, 1)), np.zeros(steps)
    for k in range(steps):
        hat = sigma[k] * (1 + gamma[k])
        s, step = 1.007 * math.sqrt(hat**2 - sigma[k] ** 2), sigma[k + 1] - hat
        if kind is EULER:  # d = eps_hat = (y - x_0) / sigma
            of_y, of_x0, of_noise = 1 + step / sigma[k], -step / sigma[k], s
        else:  # d = (y_hat - c_skip(sigma_hat) y_hat - c_out(sigma_hat) F) / sigma_hat, F from sigma
            kept, ratio = 1 + step / hat * (1 - c_skip(hat)), step / hat * c_out(hat) / c_out(sigma[k])
            of_y, of_x0, of_noise = kept + ratio * c_skip(sigma[k]), -ratio, kept * s
        A[k], B[k, 0], C[k] = alpha[k + 1] / alpha[k] * of_y, alpha[k + 1] * of_x0, alpha[k + 1] * of_noise
    plan = Plan(times, schedule.alpha_bar_at(times), A, B, C)
    assert_same(theirs(schedule, scheduler, network, **options), ours(schedule, plan))


@each_schedule
@pytest.mark.parametrize("churn", [2.0, 50.0])
@pytest.mark.parametrize("start", [1000, 500])
def test_our_churn_is_their_heun_with_noise_between(name, churn, start):
    """Their Heun knows no churn ("only gamma=0 is supported"). But its steps may begin at any sigma: with
    noise added outside, up to sigma_hat, before each step but the first, it runs EDM's Algorithm 2."""
    schedule, steps = SCHEDULES[name], 20
    most = 50.0 if churn == 2 else math.inf
    limits = {"churn_min": 0.05, "churn_max": most, "churn_noise": 1.007}
    times = karras(schedule, start, steps)
    plan = make_plan(schedule, "heun", times=times, churn=churn, **limits)
    sigma, _ = ratios(schedule, times)
    gamma = np.where((sigma >= 0.05) & (sigma <= most), min(churn / steps, math.sqrt(2) - 1), 0.0)
    gamma[0] = 0  # EDM's adds noise there as well; ours has just drawn it
    assert np.count_nonzero(gamma) >= 3
    hat = np.minimum(sigma * (1 + gamma), math.exp(-schedule.lam[-1]))  # beyond sigma_T nothing was trained
    assert (churn == 50 and start == 1000) == bool(np.any(hat < 0.999 * sigma * (1 + gamma)))
    scheduler = make(HEUN, name, steps)
    scheduler.sigmas[0::2] = torch.from_numpy(hat[:-1])
    scheduler.sigmas[1::2] = torch.from_numpy(sigma[1:])
    scheduler.set_begin_index(0)
    y, states = X * math.sqrt(1 + sigma[0] ** 2), []
    for i, t in enumerate(scheduler.timesteps):
        level = float(scheduler.sigmas[i])
        eps_hat = eps(schedule, scheduler.scale_model_input(y, t), schedule.time_at(-math.log(level)))
        y = scheduler.step(eps_hat, t, y).prev_sample
        if i % 2:
            k = i // 2 + 1
            y = y + 1.007 * math.sqrt(hat[k] ** 2 - sigma[k] ** 2) * Z[i]
        states.append(y / math.sqrt(1 + float(scheduler.sigmas[i + 1]) ** 2))
    assert_same(torch.stack(states), ours(schedule, plan))
