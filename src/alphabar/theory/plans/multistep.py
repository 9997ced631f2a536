"""Samplers that extrapolate from the predictions before: DPM-Solver++, UniPC, SA-Solver, DEIS, iPNDM.

With sigma_t = sqrt(1 - alpha_bar_t) and alpha_t = sqrt(alpha_bar_t), the way from t to s is exactly

    x_s = sigma_s / sigma_t x_t + sigma_s ∫ exp(lambda)  x0_hat  d lambda       (a)
    x_s = alpha_s / alpha_t x_t - alpha_s ∫ exp(-lambda) eps_hat d lambda       (b)

over lambda_t..lambda_s (eqs. 8 and 9 of arXiv 2211.01095). A solver replaces the prediction in the
integral by a polynomial in lambda through the last ones: of degree order - 1, lower in the first
rows, and constant in the last row if it ends at 0, where lambda is infinite.

The order of a solver is that with which the error of one path falls. With noise there are two: the
weak one, of the law of the samples, and the strong one, of a path for given noise. Measured on a
Gaussian, the weak order of `dpmpp` with eta = 1 is 1, 2, 2 for order 1, 2, 3, that of `sa_solver` 2;
the strong one of all of them is about 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np

from ...errors import brief, check_whole
from ..schedule import Schedule
from .first_order import ETA_HELP, Times, check_eta, pairs, towards_x0
from .plan import Plan
from .spacing import log_snr

Order = Annotated[int | None, "order of the solver (its own, 2 to 4, unless given)"]
Eta = Annotated[float | Sequence[float], ETA_HELP]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
ADAMS_BASHFORTH = {
    1: [1.0],
    2: [3 / 2, -1 / 2],
    3: [23 / 12, -16 / 12, 5 / 12],
    4: [55 / 24, -59 / 24, 37 / 24, -9 / 24],
}


def dpmpp(schedule: Schedule, times: Times, order: Order = None, eta: Eta = 0.0) -> Plan:
    """DPM-Solver++, multistep, of order 1 to 3 (2 unless given): the ODE (eta = 0) or its SDE (eta = 1).

    Formula (a); with noise, for the process that keeps the same marginals,

        x_s = sigma_s / sigma_t exp(-eta^2 h) x_t + alpha_s ∫ kappa exp(kappa (lambda - lambda_s)) x0_hat
              + sigma_s sqrt(1 - exp(-2 eta^2 h)) z,    kappa = 1 + eta^2, h = lambda_s - lambda_t.

    Order 2 is the paper's 2M, which takes x0_hat at the middle of the interval (Algorithm 2 of arXiv
    2211.01095, and its SDE form); order 3 integrates the parabola exactly. Order 1 is `ddim` at
    eta 0 and 1. Whatever eta is, also one for each row, the marginals are the same.
    """
    orders = _orders(times, order, 2, 3)
    A, B, C = _exponential(schedule, times, orders, _etas(eta, len(orders)))
    made_by = {"sampler": "dpmpp", "order": max(orders), "eta": np.asarray(eta, dtype=float).tolist()}
    return Plan(np.asarray(times), schedule.alpha_bar_at(times), A, B, C, made_by=made_by)


def dpmpp_sde(schedule: Schedule, times: Times, order: Order = None) -> Plan:
    """DPM-Solver++, the SDE of `dpmpp`: eta = 1.

    Noise on the way corrects errors made before, given some evaluations.
    """
    plan = dpmpp(schedule, times, order, eta=1.0)
    return replace(plan, made_by={"sampler": "dpmpp_sde", "order": plan.made_by["order"]})


def unipc(schedule: Schedule, times: Times, order: Order = None, eta: Eta = 0.0) -> Plan:
    """UniPC of order 1 to 3 (2 unless given): DPM-Solver++ with each step corrected by the next prediction.

    UniP-p and UniC-p with B(h) = e^h - 1 for data prediction (Algorithms 5 and 6 of arXiv 2302.04867),
    and with noise, as in `dpmpp`, the SA-Solver (Algorithm 1 of arXiv 2309.05019, tau = eta) but for its
    predictor of order 2: that is `dpmpp`'s, which takes the line through the last two predictions at the
    middle of the interval, where the paper integrates the line. The order is the same, the error less.
    The prediction at t_k, made from the uncorrected x_k, corrects x_k itself before the next step:
    both are the same multiple of x_(k-1) and the same noise plus a combination of predictions, so the
    corrected x_k is x_k plus the difference of the two combinations, and no second evaluation or state
    is needed.
    """
    orders = _orders(times, order, 2, 3)
    etas = _etas(eta, len(orders))
    A, predictor, C = _exponential(schedule, times, orders, etas)
    lam, (alpha, _) = schedule.lam_at(times), _signal_noise(schedule, times)
    n, J = predictor.shape
    B = np.zeros((n, J + 1))
    B[:, :J] = predictor
    for k in range(1, n):
        p = orders[k - 1]
        corrector = _weights(lam[k - 1], lam[k], lam[k - np.arange(p + 1)], 1 + etas[k - 1] ** 2)
        if p == 1:
            corrector = corrector.sum() * np.array([0.5, 0.5])
        B[k, : p + 1] += A[k] * alpha[k] * corrector
        B[k, 1:] -= A[k] * predictor[k - 1]
    made_by = {"sampler": "unipc", "order": max(orders), "eta": np.asarray(eta, dtype=float).tolist()}
    return Plan(np.asarray(times), schedule.alpha_bar_at(times), A, B, C, made_by=made_by)


def sa_solver(schedule: Schedule, times: Times, order: Order = None) -> Plan:
    """SA-Solver, the SDE of `unipc`: eta = 1 (arXiv 2309.05019, with the predictor that `unipc` names)."""
    plan = unipc(schedule, times, order, eta=1.0)
    return replace(plan, made_by={"sampler": "sa_solver", "order": plan.made_by["order"]})


def deis(schedule: Schedule, times: Times, order: Order = None) -> Plan:
    """DEIS of order 1 to 3 (3 unless given): formula (b), with eps_hat a polynomial in lambda.

    The paper's tAB-DEIS fits it over t; over lambda, as here, is the `logrho` variant (arXiv 2204.13902).
    Order 1 is `ddim`.
    """
    orders = _orders(times, order, 3, 3)
    lam = schedule.lam_at(times)
    _, sigma = _signal_noise(schedule, times)
    b, euler = np.zeros((len(orders), max(orders))), _euler(schedule, times)
    for k, p in enumerate(orders):
        if np.isfinite(lam[k + 1]):
            nodes = lam[k - np.arange(p)]
            b[k, :p] = sigma[k + 1] * _weights(lam[k], lam[k + 1], nodes, -1.0)
        else:
            b[k, 0] = euler[k]
    return _eps_plan(schedule, times, b, {"sampler": "deis", "order": max(orders)})


def ipndm(schedule: Schedule, times: Times, order: Order = None) -> Plan:
    """Improved PNDM of order 1 to 4 (4 unless given): DDIM with eps_hat combined as by Adams and Bashforth.

    The coefficients are those for equal steps, whatever the times (arXiv 2204.13902, sec. 4; the
    multistep formula of arXiv 2202.09778), also in the last row. Order 1 is `ddim`.
    """
    n = len(np.asarray(times)) - 1
    orders = _orders(times, order, 4, 4, ends_at_first_order=False)
    b, euler = np.zeros((n, max(orders))), _euler(schedule, times)
    for k, p in enumerate(orders):
        b[k, :p] = euler[k] * np.array(ADAMS_BASHFORTH[p])
    return _eps_plan(schedule, times, b, {"sampler": "ipndm", "order": max(orders)})


def inversion(schedule: Schedule, evaluations: int, order: int = 2) -> Plan:
    """The way up, from t = 1 to T, of the same differential equation: a picture's own noise.

    DPM-Solver++ of this order on times even in lambda. Every prediction is made at the time where x
    is, and used with that time's alpha_bar (DDIM inversion is order 1).
    """
    check_whole("evaluations", evaluations, 1)
    _check_order(order, 3)
    times = log_snr(schedule, schedule.T, evaluations + 1)[-2::-1]
    orders = [min(order, k + 1) for k in range(evaluations)]
    A, B, C = _exponential(schedule, times, orders, np.zeros(len(orders)))
    made_by = {"sampler": "inversion", "order": max(orders)}
    return Plan(times, schedule.alpha_bar_at(times), A, B, C, made_by=made_by)


# --- shared ------------------------------------------------------------------------------------


def _orders(
    times: Times, order: int | None, usual: int, most: int, ends_at_first_order: bool = True
) -> list[int]:
    """The order of each row: it grows from 1 as predictions come in, and ends at 1 if it ends clean.

    An order that is asked for and not reached is said; the usual one, where none is asked for, is not.
    """
    times = np.asarray(times, dtype=np.float64)
    pairs(times)
    wanted = usual if order is None else order
    _check_order(wanted, most)
    n = len(times) - 1
    orders = [int(min(wanted, k + 1)) for k in range(n)]
    if ends_at_first_order and times[-1] == 0:
        orders[-1] = 1
    if order is not None and max(orders) < order:
        last = " and the last is of order 1" if orders[-1] == 1 else ""
        warnings.warn(
            f"order {order} is not reached in {n} evaluations (it grows from 1{last}): "
            f"lowered to {max(orders)}",
            stacklevel=4,
        )
    return orders


def _etas(eta: float | Sequence[float], rows: int) -> np.ndarray:
    """The eta of each row."""
    etas = np.asarray(eta, dtype=np.float64)
    if etas.shape not in ((), (rows,)):
        raise ValueError(f"eta must be one number or one for each of {rows} rows, got {etas.size}")
    for each in etas.flat:
        check_eta(each)
    return np.broadcast_to(etas, rows)


def _check_order(order: int, most: int) -> None:
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or not 1 <= order <= most:
        raise ValueError(f"order must be a whole number within 1..{most}, got {brief(order)}")


def _exponential(
    schedule: Schedule, times: Times, orders: list[int], eta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, B, C) of formula (a), with noise by the eta of each row."""
    alpha, sigma = _signal_noise(schedule, times)
    lam = schedule.lam_at(times)
    shrink = sigma[1:] * alpha[:-1] / (alpha[1:] * sigma[:-1])  # exp(-h)
    kappa = 1 + eta**2
    A = sigma[1:] / sigma[:-1] * shrink ** (eta**2)
    C = sigma[1:] * np.sqrt(1 - shrink ** (2 * eta**2))
    B = np.zeros((len(orders), max(orders)))
    total = alpha[1:] * (1 - shrink**kappa)
    for k, p in enumerate(orders):
        if p <= 2:
            B[k, 0] = total[k]
        if p == 2:
            ahead = 0.5 * (lam[k + 1] - lam[k]) / (lam[k] - lam[k - 1]) * total[k]
            B[k, :2] += [ahead, -ahead]
        if p == 3:
            B[k, :3] = alpha[k + 1] * _weights(lam[k], lam[k + 1], lam[k - np.arange(3)], kappa[k])
    return A, B, C


def _weights(lam_t: float, lam_s: float, nodes: np.ndarray, kappa: float) -> np.ndarray:
    """∫ kappa exp(kappa (lambda - lambda_s)) L_j(lambda) d lambda over lambda_t..lambda_s, for each j.

    L_j is Lagrange's polynomial, 1 at nodes[j] and 0 at the others.
    """
    half = (lam_s - lam_t) / 2
    lam = lam_t + half * (NODES + 1)
    density = half * WEIGHTS * kappa * np.exp(kappa * (lam - lam_s))
    weights = []
    for j, node in enumerate(nodes):
        others = np.delete(nodes, j)
        weights.append(density @ np.prod((lam[:, None] - others) / (node - others), axis=1))
    return np.array(weights)


def _euler(schedule: Schedule, times: Times) -> np.ndarray:
    """What DDIM adds of eps_hat: sigma_s - alpha_s sigma_t / alpha_t."""
    alpha, sigma = _signal_noise(schedule, times)
    return sigma[1:] - alpha[1:] * sigma[:-1] / alpha[:-1]


def _eps_plan(schedule: Schedule, times: Times, b: np.ndarray, made_by: dict) -> Plan:
    """x_s = alpha_s / alpha_t x_t + sum_j b_j eps_hat_(k-j), with the newest written in x0_hat."""
    times = np.asarray(times, dtype=np.float64)
    alpha, sigma = _signal_noise(schedule, times)
    t, s = times[:-1], times[1:]
    A, B_0 = towards_x0(schedule, t, s)
    beyond = b[:, 0] - _euler(schedule, times)  # what DDIM's own step doesn't have of the newest eps_hat
    B = b.copy()
    B[:, 0] = B_0 - beyond * alpha[:-1] / sigma[:-1]
    bar = schedule.alpha_bar_at(times)
    return Plan(times, bar, A + beyond / sigma[:-1], B, np.zeros(len(t)), "eps", made_by)


def _signal_noise(schedule: Schedule, times: Times) -> tuple[np.ndarray, np.ndarray]:
    bar = schedule.alpha_bar_at(times)
    return np.sqrt(bar), np.sqrt(1 - bar)
