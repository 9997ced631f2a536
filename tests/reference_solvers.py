"""The oracle of the solvers: each typed from its paper as a state machine in float64, which keeps the
states that the paper keeps, with nothing imported from the package.

`bars` are alpha_bar at the times visited, noisiest first, with 1 for clean. `model(x, bar)` predicts x_0.
`noise()` gives new standard normal numbers of x's shape at every call. Each solver returns the last x.
"""

from __future__ import annotations

import math

import numpy as np

import reference


def half_log_snr(bar):
    """lambda = log(alpha / sigma), infinite where it is clean."""
    return math.inf if bar == 1 else 0.5 * math.log(bar / (1 - bar))


def predicted_eps(model, x, bar):
    """x = sqrt(bar) x_0 + sqrt(1 - bar) eps, solved for eps."""
    return (x - math.sqrt(bar) * model(x, bar)) / math.sqrt(1 - bar)


# --- the times, as alpha_bar ---------------------------------------------------------------------


def trailing_bars(table, steps):
    """Even in t, rounded to whole times; `table` is alpha_bar_0 … alpha_bar_T."""
    T = len(table) - 1
    return [table[math.floor(T * left / steps + 0.5)] for left in range(steps, -1, -1)]


def log_snr_bars(table, steps):
    """Even in lambda from T to 1, then clean."""
    first, last = half_log_snr(table[-1]), half_log_snr(table[1])
    lams = [first + (last - first) * i / max(steps - 1, 1) for i in range(steps)]
    return [1 / (1 + math.exp(-2 * lam)) for lam in lams] + [1.0]


def karras_bars(table, steps, rho=7):
    """Eq. 5 of arXiv 2206.00364, sigma = sqrt((1 - bar) / bar)."""
    high, low = (math.sqrt((1 - table[t]) / table[t]) ** (1 / rho) for t in (-1, 1))
    sigmas = [(high + i / max(steps - 1, 1) * (low - high)) ** rho for i in range(steps)]
    return [1 / (1 + sigma**2) for sigma in sigmas] + [1.0]


def flow_bars(table, steps):
    """Times v even from T to 0, shifted to u = 2 v / (1 + v) (eq. 23 of arXiv 2403.03206), at which
    x = (1 - u) x_0 + u eps, divided by sqrt((1 - u)^2 + u^2). Where the last above 0 would be cleaner
    than t = 1, v is even from T to t = 1 instead, and 0 follows."""
    first, least = (
        math.sqrt((1 - table[t]) / table[t]) / (1 + math.sqrt((1 - table[t]) / table[t])) for t in (-1, 1)
    )
    first, least = first / (2 - first), least / (2 - least)
    if first / steps >= least:
        vs = [first * left / steps for left in range(steps, -1, -1)]
    else:
        vs = [first + (least - first) * i / max(steps - 1, 1) for i in range(steps)] + [0.0]
    us = [2 * v / (1 + v) for v in vs]
    return [(1 - u) ** 2 / ((1 - u) ** 2 + u**2) for u in us]


def scales_bars(table, steps, coarsest=8.0, finest=0.05):
    """Times even in the mean of sigma / (s + sigma) over s from `finest` to `coarsest`, each part of log s
    counted alike, by quadrature and bisection; sigma of t = 1 is the least of s and of sigma, and few steps
    have coarser ones alone."""
    finest = max(finest, min(0.4, coarsest / math.exp(0.32 * steps)))
    first, least = (math.sqrt((1 - table[t]) / table[t]) for t in (-1, 1))
    low, high = math.log(max(finest, least)), math.log(coarsest)
    nodes, weights = np.polynomial.legendre.leggauss(100)
    sizes = np.exp(low + (high - low) * (nodes + 1) / 2)

    def settled(sigma):
        return float(weights @ (sigma / (sizes + sigma))) / 2

    def sigma_at(u):
        low, high = least / 2, 2 * first
        for _ in range(100):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if settled(middle) < u else (low, middle)
        return low

    top, bottom = settled(first), settled(least)
    last = max(top / steps, bottom)
    sigmas = [first] + [sigma_at(top + (last - top) * i / (steps - 1)) for i in range(1, steps)]
    return [1 / (1 + sigma**2) for sigma in sigmas] + [1.0]


# --- first order ---------------------------------------------------------------------------------


def ddpm(bars, model, x, noise, variance="posterior", remainder=None):
    """Algorithm 2 of arXiv 2006.11239 on a shorter chain, alpha = bar_t / bar_s for each pair.

    `optimal` is theorem 1 of arXiv 2201.06503, remainder(bar) = 1 - (1 - bar) E |grad log q|^2 / d.
    """
    for bar, before in zip(bars, bars[1:]):
        alpha = bar / before
        posterior = (1 - before) / (1 - bar) * (1 - alpha)
        x = (x - (1 - alpha) / math.sqrt(1 - bar) * predicted_eps(model, x, bar)) / math.sqrt(alpha)
        if before == 1:
            break  # z = 0 at the last step
        if variance == "optimal":
            factor = math.sqrt((1 - bar) / alpha) - math.sqrt(1 - before - posterior)
            sigma2 = posterior + factor**2 * remainder(bar)
        else:
            sigma2 = {"posterior": posterior, "beta": 1 - alpha}[variance]
        x = x + math.sqrt(sigma2) * noise()
    return x


def ddim(bars, model, x, noise=None, eta=0.0):
    """Eqs. 12 and 16 of arXiv 2010.02502."""
    for bar, before in zip(bars, bars[1:]):
        sigma = eta * math.sqrt((1 - before) / (1 - bar)) * math.sqrt(1 - bar / before)
        eps = predicted_eps(model, x, bar)
        x_0 = (x - math.sqrt(1 - bar) * eps) / math.sqrt(bar)
        x = math.sqrt(before) * x_0 + math.sqrt(1 - before - sigma**2) * eps
        if sigma:
            x = x + sigma * noise()
    return x


# --- Heun ----------------------------------------------------------------------------------------


def edm_heun(
    bars,
    model,
    x,
    noise=None,
    churn=0.0,
    churn_min=0.0,
    churn_max=math.inf,
    churn_noise=1.0,
    sigma_T=math.inf,
    euler_first=False,
):
    """Algorithm 2 of arXiv 2206.00364 in its own variables, x / sqrt(bar) over sigma.

    Besides: no churn in the first step, sigma_hat is at most sigma_T, and the first step may be Euler's.
    """

    def D(x, sigma):
        return model(x / math.sqrt(1 + sigma**2), 1 / (1 + sigma**2))

    sigmas = [math.sqrt((1 - bar) / bar) for bar in bars]
    N = len(bars) - 1
    x = x / math.sqrt(bars[0])
    for i in range(N):
        gamma = min(churn / N, math.sqrt(2) - 1) if i and churn_min <= sigmas[i] <= churn_max else 0.0
        sigma_hat = min(sigmas[i] + gamma * sigmas[i], sigma_T)
        if gamma and sigma_hat > sigmas[i]:
            x = x + math.sqrt(sigma_hat**2 - sigmas[i] ** 2) * churn_noise * noise()
        else:
            sigma_hat = sigmas[i]
        d = (x - D(x, sigma_hat)) / sigma_hat
        following = x + (sigmas[i + 1] - sigma_hat) * d
        if sigmas[i + 1] and not (euler_first and i == 0):
            corrected = (following - D(following, sigmas[i + 1])) / sigmas[i + 1]
            following = x + (sigmas[i + 1] - sigma_hat) * (d / 2 + corrected / 2)
        x = following
    return x * math.sqrt(bars[-1])


# --- DPM-Solver++ --------------------------------------------------------------------------------


def dpmpp_2m(bars, model, x):
    """Algorithm 2 of arXiv 2211.01095; of first order in the first step and in one that ends clean."""
    buffer = []
    lams = [half_log_snr(bar) for bar in bars]
    for i in range(1, len(bars)):
        before, bar = bars[i - 1], bars[i]
        h = lams[i] - lams[i - 1]
        buffer.append(model(x, before))
        D = buffer[-1]
        if i > 1 and bar < 1:
            r = (lams[i - 1] - lams[i - 2]) / h
            D = (1 + 1 / (2 * r)) * buffer[-1] - 1 / (2 * r) * buffer[-2]
        x = math.sqrt((1 - bar) / (1 - before)) * x - math.sqrt(bar) * math.expm1(-h) * D
    return x


def dpmpp_sde(bars, model, x, noise=None, order=2, eta=1.0):
    """SDE-DPM-Solver++ 1 and 2M (arXiv 2211.01095, appendix), as k-diffusion has it: `midpoint`, in its
    variables x / sqrt(bar) over sigma, with its eta, that multiplies the noise's variance: one, or one a
    step."""
    sigmas = [math.sqrt((1 - bar) / bar) for bar in bars]
    x = x / math.sqrt(bars[0])
    old, last_h, etas = None, None, eta
    for i in range(len(bars) - 1):
        eta = etas[i] if isinstance(etas, list) else etas
        denoised = model(x / math.sqrt(1 + sigmas[i] ** 2), bars[i])
        if sigmas[i + 1] == 0:
            return denoised
        h = math.log(sigmas[i]) - math.log(sigmas[i + 1])
        x = sigmas[i + 1] / sigmas[i] * math.exp(-eta * h) * x - math.expm1(-h - eta * h) * denoised
        if order == 2 and old is not None:
            x = x - 0.5 * math.expm1(-h - eta * h) * (h / last_h) * (denoised - old)
        x = x + sigmas[i + 1] * math.sqrt(-math.expm1(-2 * eta * h)) * noise()
        old, last_h = denoised, h
    return x * math.sqrt(bars[-1])


def exponential_3m(bars, model, x, noise=None, eta=0.0):
    """The parabola through the last three x_0, integrated exactly; the line and the constant before it.

    For the process that `dpmpp_sde` follows, with the same eta; 2M's midpoint rule in the second step.
    """
    kappa = 1 + eta
    seen = []  # (lambda, x_0), the newest first
    for i, (before, bar) in enumerate(zip(bars, bars[1:])):
        seen.insert(0, (half_log_snr(before), model(x, before)))
        if bar == 1:
            return seen[0][1]
        h = half_log_snr(bar) - seen[0][0]
        whole = moment(0, h, kappa)
        total = whole * seen[0][1]
        if i == 1:
            total = total + whole * h / 2 * differences(seen)[1]
        if i >= 2:
            _, slope, bend = differences(seen[:3])
            gap = seen[0][0] - seen[1][0]  # f(u) = f_0 + slope u + bend u (u + gap), u = lambda - lambda_0
            first, second = moment(1, h, kappa), moment(2, h, kappa)
            total = total + first * slope + (second + gap * first) * bend
        scale = math.sqrt((1 - bar) / (1 - before)) * math.exp(-eta * h)
        x = scale * x + math.sqrt(bar) * total
        if eta:
            x = x + math.sqrt(1 - bar) * math.sqrt(-math.expm1(-2 * eta * h)) * noise()
    return x


def moment(j, h, kappa):
    """Integral of kappa exp(kappa (u - h)) u^j over 0..h."""
    return kappa * h ** (j + 1) * math.factorial(j) * phi(j + 1, -kappa * h)


def phi(k, z):
    """phi_0 = e^z, phi_(k+1) = (phi_k - 1/k!) / z; by its series near 0."""
    if abs(z) < 1:
        return sum(z**m / math.factorial(m + k) for m in range(20))
    return math.exp(z) if k == 0 else (phi(k - 1, z) - 1 / math.factorial(k - 1)) / z


def differences(points):
    """Newton's divided differences f[0], f[0, 1], f[0, 1, 2] … of (place, value)."""
    places, values = zip(*points)
    column, out = list(values), []
    for width in range(len(points)):
        out.append(column[0])
        column = [
            (column[i + 1] - column[i]) / (places[i + width + 1] - places[i]) for i in range(len(column) - 1)
        ]
    return out


# --- UniPC ---------------------------------------------------------------------------------------


def unipc(bars, model, x, noise=None, order=2, eta=0.0):
    """Algorithm 8 of arXiv 2302.04867: UniP-p, then UniC-p with the prediction at what it gave.

    B(h) = e^h - 1 at h -> -h, and rho = 1/2 without solving for the corrector of p = 1 and the predictor
    of p = 2, as published. The corrected x goes on, and the prediction at the uncorrected one is kept.
    A clean end is the last x_0.

    With eta = tau^2 it is Algorithm 1 of arXiv 2309.05019 for the process of `dpmpp_sde`: e^(u - h) under
    the integral becomes (1 + eta) e^((1 + eta)(u - h)), and the corrector repeats the predictor's noise.
    """
    lams = [half_log_snr(bar) for bar in bars]
    seen, etas = [model(x, bars[0])], eta  # the newest last
    for i in range(1, len(bars)):
        eta = etas[i - 1] if isinstance(etas, list) else etas
        before, bar = bars[i - 1], bars[i]
        if bar == 1:
            return seen[-1]
        h, p = lams[i] - lams[i - 1], min(order, i)
        r = [(lams[i - 1 - m] - lams[i - 1]) / h for m in range(1, p)] + [1.0]
        D = [(seen[-1 - m] - seen[-1]) / r[m - 1] for m in range(1, p)]
        B = math.expm1(-(1 + eta) * h)
        R = np.array([[r_m**n for r_m in r] for n in range(p)])
        b = [-moment(n, h, 1 + eta) / h**n / B for n in range(1, p + 1)]
        base = math.sqrt((1 - bar) / (1 - before)) * math.exp(-eta * h) * x - math.sqrt(bar) * B * seen[-1]
        if eta:
            base = base + math.sqrt(1 - bar) * math.sqrt(-math.expm1(-2 * eta * h)) * noise()
        rho = [0.5] if p == 2 else np.linalg.solve(R[:-1, :-1], b[:-1])
        x = base - math.sqrt(bar) * B * sum(w * d for w, d in zip(rho, D))
        if i == len(bars) - 1:
            return x
        rho = [0.5] if p == 1 else np.linalg.solve(R, b)
        seen.append(model(x, bar))
        D.append(seen[-1] - seen[-2])
        x = base - math.sqrt(bar) * B * sum(w * d for w, d in zip(rho, D))
    raise AssertionError


# --- eps multistep -------------------------------------------------------------------------------


def deis(bars, model, x, order):
    """Eq. 14 of arXiv 2204.13902, the polynomial of eps fitted over lambda (`logrho`).

    x_s = alpha_s / alpha_t x - alpha_s exp(-lambda_t) (integral of exp(-u) P(u)), u = lambda - lambda_t.
    """
    seen = []  # (lambda, eps), the newest first
    for bar, before in zip(bars, bars[1:]):
        seen.insert(0, (half_log_snr(bar), predicted_eps(model, x, bar)))
        newton = differences(seen[: order if before < 1 else 1])
        h = half_log_snr(before) - seen[0][0]
        total = falling_moment(0, h) * newton[0]
        if len(newton) > 1:
            total = total + falling_moment(1, h) * newton[1]
        if len(newton) > 2:
            gap = seen[0][0] - seen[1][0]
            total = total + (falling_moment(2, h) + gap * falling_moment(1, h)) * newton[2]
        x = math.sqrt(before / bar) * x - math.sqrt(before) * math.sqrt((1 - bar) / bar) * total
    return x


def falling_moment(j, h):
    """Integral of exp(-u) u^j over 0..h: by its series near 0, else by parts."""
    if h < 1:
        return h ** (j + 1) * sum((-h) ** m / (math.factorial(m) * (m + j + 1)) for m in range(20))
    if j == 0:
        return -math.expm1(-h)
    return j * falling_moment(j - 1, h) - h**j * math.exp(-h)


def ipndm(bars, model, x, order):
    """The linear multistep formula of arXiv 2202.09778 (eq. 12 and its lower orders), DDIM's transfer."""
    ets = []
    for bar, before in zip(bars, bars[1:]):
        ets.append(predicted_eps(model, x, bar))
        n = min(order, len(ets))
        if n == 1:
            e = ets[-1]
        elif n == 2:
            e = (3 * ets[-1] - ets[-2]) / 2
        elif n == 3:
            e = (23 * ets[-1] - 16 * ets[-2] + 5 * ets[-3]) / 12
        else:
            e = (55 * ets[-1] - 59 * ets[-2] + 37 * ets[-3] - 9 * ets[-4]) / 24
        x = math.sqrt(before) * (x - math.sqrt(1 - bar) * e) / math.sqrt(bar) + math.sqrt(1 - before) * e
    return x


# --- laws ----------------------------------------------------------------------------------------


def law(solver, m, v, bars, noises=0, **options):
    """Exact mean and variance of the last x, from x ~ N(0, 1), with the ideal denoiser of N(m, v).

    A run is affine in x and in its noises: these are its responses to each of them alone.
    """
    x = np.zeros(noises + 2)
    x[1] = 1
    used = 1

    def noise():
        nonlocal used
        used += 1
        return (np.arange(len(x)) == used).astype(float)

    arguments = {"noise": noise} if noises else {}
    out = solver(bars, lambda x, bar: reference.ideal_x0(m, v, bar, x), x, **arguments, **options)
    assert used < len(x)
    return out[0], float(((out - out[0]) ** 2).sum())
