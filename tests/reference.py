"""The oracle: the paper's formulas (Ho et al. 2020, arXiv 2006.11239; DDIM, arXiv 2010.02502) retyped
in plain Python, one time at a time, with nothing imported from the package.

Lists are the paper's own: beta[t - 1] is beta_t. alpha_bar(betas, 0) is 1, the empty product.
"""

from __future__ import annotations

import math


def linear_betas(T=1000, first=1e-4, last=0.02):
    """Section 4: constants increasing linearly."""
    return [first + (last - first) * i / (T - 1) for i in range(T)]


def cosine_betas(T, s=0.008, most=0.999):
    """Eq. 17 of arXiv 2102.09672, clipped."""
    f = lambda t: math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2  # noqa: E731
    return [min(1 - f(t) / f(t - 1), most) for t in range(1, T + 1)]


def alpha_bar(betas, t):
    """alpha_bar_t = prod_{i=1..t} (1 - beta_i)."""
    return math.prod(1 - b for b in betas[:t])


def posterior(betas, t):
    """Eqs. 6 and 7: the coefficients of x_0 and of x_t in mu~_t, and beta~_t."""
    beta = betas[t - 1]
    ab, before = alpha_bar(betas, t), alpha_bar(betas, t - 1)
    on_x0 = math.sqrt(before) * beta / (1 - ab)
    on_xt = math.sqrt(1 - beta) * (1 - before) / (1 - ab)
    return on_x0, on_xt, (1 - before) / (1 - ab) * beta


def posterior_by_bayes(ab_s, ab_t):
    """q(x_s | x_t, x_0) by Bayes' rule: the product of q(x_t | x_s) and q(x_s | x_0), for s < t."""
    step = ab_t / ab_s
    precision = step / (1 - step) + 1 / (1 - ab_s)
    return math.sqrt(ab_s) / (1 - ab_s) / precision, math.sqrt(step) / (1 - step) / precision, 1 / precision


def mean_from_eps(betas, t, x_t, eps):
    """Eq. 11."""
    beta = betas[t - 1]
    return (x_t - beta / math.sqrt(1 - alpha_bar(betas, t)) * eps) / math.sqrt(1 - beta)


def ideal_x0(mean, variance, ab, x):
    """E[x_0 | x_t = x] for x_0 ~ N(mean, variance): conjugate Gaussians."""
    return mean + math.sqrt(ab) * variance / (ab * variance + 1 - ab) * (x - math.sqrt(ab) * mean)


def ddpm_law(mean, variance, bars, choice):
    """Mean and variance that ancestral sampling gives with the ideal denoiser of N(mean, variance).

    `bars` are alpha_bar at the times visited, from noisiest to 1 (clean). Each pair is one step of a
    shorter chain with beta = 1 - bar_t / bar_s; `choice` is its variance: "posterior" or "beta".
    """
    m, v = 0.0, 1.0
    for ab, before in zip(bars, bars[1:]):
        beta = 1 - ab / before
        gain = math.sqrt(ab) * variance / (ab * variance + 1 - ab)
        offset = mean - gain * math.sqrt(ab) * mean
        on_x0 = math.sqrt(before) * beta / (1 - ab)
        on_xt = math.sqrt(1 - beta) * (1 - before) / (1 - ab)
        noise = {"posterior": (1 - before) / (1 - ab) * beta, "beta": beta}[choice]
        if before == 1:  # Algorithm 2: z = 0 at the last step
            noise = 0.0
        m = (on_xt + on_x0 * gain) * m + on_x0 * offset
        v = (on_xt + on_x0 * gain) ** 2 * v + noise
    return m, v


def ddim_law(mean, variance, bars, eta):
    """The same for DDIM: eqs. 12 and 16 of arXiv 2010.02502, written in eps."""
    m, v = 0.0, 1.0
    for ab, before in zip(bars, bars[1:]):
        sigma = eta * math.sqrt((1 - before) / (1 - ab)) * math.sqrt(1 - ab / before)
        gain = math.sqrt(ab) * variance / (ab * variance + 1 - ab)
        offset = mean - gain * math.sqrt(ab) * mean
        # eps = (x - sqrt(ab) x0) / sqrt(1 - ab), with x0 = gain x + offset
        eps_gain = (1 - math.sqrt(ab) * gain) / math.sqrt(1 - ab)
        eps_offset = -math.sqrt(ab) * offset / math.sqrt(1 - ab)
        direction = math.sqrt(max(1 - before - sigma**2, 0.0))
        m = (math.sqrt(before) * gain + direction * eps_gain) * m
        m += math.sqrt(before) * offset + direction * eps_offset
        v = (math.sqrt(before) * gain + direction * eps_gain) ** 2 * v + sigma**2
    return m, v


def gaussian_kl(m1, v1, m2, v2):
    """KL(N(m1, v1) || N(m2, v2))."""
    return 0.5 * (v1 / v2 - 1 - math.log(v1 / v2) + (m1 - m2) ** 2 / v2)


def network_target(prediction, ab, x_0, eps):
    """What each kind of network is trained to give, from its own paper."""
    x_t = math.sqrt(ab) * x_0 + math.sqrt(1 - ab) * eps
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x_0
    if prediction == "v":  # arXiv 2202.00512, appendix D
        return math.sqrt(ab) * eps - math.sqrt(1 - ab) * x_0
    if prediction == "flow":  # arXiv 2210.02747: d/dtau of (1 - tau) x_0 + tau eps
        return eps - x_0
    # arXiv 2206.00364, table 1 and eq. 8, with sigma_data = 0.5 and x = x_0 + sigma eps
    sigma = math.sqrt((1 - ab) / ab)
    x = x_t / math.sqrt(ab)
    c_skip = 0.25 / (sigma**2 + 0.25)
    c_out = sigma * 0.5 / math.sqrt(0.25 + sigma**2)
    return (x_0 - c_skip * x) / c_out


def network_input(prediction, ab, x_t):
    """What each kind of network is shown for x_t."""
    if prediction == "edm":
        sigma = math.sqrt((1 - ab) / ab)
        return x_t / math.sqrt(ab) / math.sqrt(sigma**2 + 0.25)
    if prediction == "flow":
        return x_t / (math.sqrt(ab) + math.sqrt(1 - ab))
    return x_t
