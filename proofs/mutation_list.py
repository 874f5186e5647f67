"""Mistakes that somebody could make in a solver or an auction, and the claims of each file."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

PACKAGES = ("fairopt", "mechanisms", "proofs")


@dataclass(frozen=True)
class Mutation:
    """One mistake.

    Args:
        file: Path in the repository.
        what: The mistake in words.
        old: Text that occurs once in the file.
        new: What it becomes.
    """

    file: str
    what: str
    old: str
    new: str


GRADIENTS = ("fairgrad-*", "min-norm-*", "conflict-averse-*", "dual-cone-*", "upgrad-*", "pareto-*")
PROJECTIONS = ("dual-cone-*", "upgrad-*", "a-gram-matrix-*")
IN_TWICE_THE_DIGITS = (
    "dual-cone-bound-in-*",
    "conflict-averse-gap-in-*",
    "dual-cone-from-*",
    "conflict-averse-from-*",
)
AUCTIONS = (
    "*-truthful",
    "*-within-budget",
    "*-individually-rational",
    "float-rules-*",
    "greedy-*",
    "*-floor*",
    "*-dominate*",
    "max-min-fair-with-one-task",
    "leave-one-out-level-with-*",
    "*-for-all-sizes",
)
CLAIMS_OF: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "fairopt/client_allocation.py": ("client-task*", "trainers-*", "a-task-*"),
        "fairopt/request_allocation.py": ("requests-*", "rounded-shares-*", "the-released-*"),
        "fairopt/multiplicative_weights.py": ("reweighting-*", "fedram-*"),
        "fairopt/cross_attention.py": ("attention-*",),
        "fairopt/fairgrad.py": ("fairgrad-*", "dual-cone-direction-error-is-a-bound"),
        "fairopt/min_norm.py": ("min-norm-*",),
        "fairopt/conflict_averse.py": ("conflict-averse-*",),
        "fairopt/dual_cone.py": ("dual-cone-*", "upgrad-*", "fairgrad-residual-*"),
        "fairopt/kernels/gram/dual_cone.py": PROJECTIONS,
        "fairopt/kernels/gram/dual_cone_steps.py": PROJECTIONS,
        "fairopt/kernels/gram/direction_bound.py": PROJECTIONS,
        "fairopt/kernels/gram/progress_gap.py": ("conflict-averse-*",),
        "fairopt/kernels/gram/conflict_averse.py": ("conflict-averse-*",),
        "fairopt/conflict_averse_gradients.py": ("conflict-averse-from-*",),
        "fairopt/dual_cone_gradients.py": ("dual-cone-from-*",),
        "fairopt/kernels/gram/double_double_progress.py": IN_TWICE_THE_DIGITS,
        "fairopt/kernels/gram/double_double_level.py": IN_TWICE_THE_DIGITS,
        "fairopt/kernels/gram/double_double_cone.py": IN_TWICE_THE_DIGITS,
        "fairopt/kernels/gram/double_double_bound.py": IN_TWICE_THE_DIGITS,
        "fairopt/kernels/gram/conflict_averse_bounds.py": ("conflict-averse-*",),
        "fairopt/pareto.py": ("pareto-*",),
        "fairopt/min_norm_gradients.py": ("min-norm-*", "pareto-*"),
        "fairopt/utility.py": ("alpha-fair-utility-*",),
        "mechanisms/auctions/max_min_fair.py": ("max-min-fair-*", "float-rules-*"),
        "mechanisms/auctions/exact/offers.py": (
            "max-min-fair-*",
            "leave-one-out-level-*",
            "float-rules-*",
        ),
        "mechanisms/auctions/floats/order_statistics.py": ("float-rules-*",),
        "mechanisms/auctions/baselines.py": (
            "cheapest-first-*",
            "random-recruitment-*",
            "float-rules-*",
        ),
        "mechanisms/auctions/level_max_min.py": (
            "leave-one-out-level-*",
            "level-max-min-*",
            "common-level-floor",
            "float-rules-*",
        ),
        "mechanisms/auctions/leave_one_out_level.py": ("leave-one-out-level-*", "float-rules-*"),
        "mechanisms/auctions/budget_fair.py": (
            "budget-fair-*",
            "max-min-fair-with-one-task",
            "float-rules-*",
        ),
        "mechanisms/auctions/greedy_max_min.py": ("greedy-*", "c1-*", "float-rules-*"),
        "mechanisms/auctions/participation_fee.py": ("participation-fee-*", "float-rules-*"),
        "mechanisms/auctions/posted_price.py": (
            "posted-price-*",
            "sampled-posted-*",
            "float-rules-*",
        ),
    }
)
RATES = ("fair-prices-*", "fair-rates-*", "max-min-rates-*", "a-cap-*", "allocation-residual-*")
FOLDERS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "fairopt/apportionment/": ("requests-*", "rounded-shares-*"),
        "fairopt/allocation/multipath/": ("split-*", "optimal-split-*"),
        "fairopt/allocation/": RATES,
        "fairopt/kernels/network/": RATES,
        "mechanisms/audits/symbolic/": ("*-for-all-real-bids",),
        "mechanisms/auctions/kernels/": ("float-rules-*", "*-take-up"),
        "mechanisms/": AUCTIONS,
        "proofs/rocq/": ("*-for-all-sizes",),
        "fairopt/": GRADIENTS,
    }
)
"""Claims of the files that are not listed: those of the first folder that holds the file."""


def claims_of(file: str) -> tuple[str, ...]:
    """Names of the claims that a file must fail if it is wrong.

    Example:
        >>> claims_of("fairopt/pareto.py")
        ('pareto-*',)
    """
    if file in CLAIMS_OF:
        return CLAIMS_OF[file]
    return next(claims for folder, claims in FOLDERS.items() if file.startswith(folder))


# ruff: noqa: E501
MUTATIONS = (
    Mutation("fairopt/client_allocation.py", "power off by one", "(power - 1.0) *", "power *"),
    Mutation("fairopt/client_allocation.py", "priority dropped", "+ np.log(share), allowed)", ", allowed)"),
    Mutation("fairopt/client_allocation.py", "0^0 = 0 at alpha = 1", "power > 1.0 else", "power >= 1.0 else"),
    Mutation("fairopt/client_allocation.py", "sum of all tasks, not of the eligible", "np.where(allowed, logits, -np.inf)", "np.where(True, logits, -np.inf)"),
    Mutation("fairopt/request_allocation.py", "variance for deviation", "\"sum_of_variances\": 2,", "\"sum_of_variances\": 1,"),
    Mutation("fairopt/request_allocation.py", "square root for cube root", "\"sum_of_deviations\": 3}", "\"sum_of_deviations\": 2}"),
    Mutation("fairopt/apportionment/largest_remainder.py", "ties to the higher index", "(-rest[k][0], k)", "(-rest[k][0], -k)"),
    Mutation("fairopt/apportionment/largest_remainder.py", "one unit too few", "order[:missing]", "order[: missing - 1]"),
    Mutation("fairopt/apportionment/shares.py", "the floor is not paid for", "rest = total - least * (len(weights) - len(free))", "rest = total"),
    Mutation("fairopt/apportionment/marginal_greedy.py", "the start is above the optimum", "total = units - size", "total = units + 4 * size"),
    Mutation("fairopt/apportionment/marginal_greedy.py", "gains of the last unit, not of the next", "self.value * m * (m + 1), other.value * n * (n + 1)", "self.value * m * (m - 1), other.value * n * (n - 1)"),
    Mutation("fairopt/apportionment/marginal_greedy.py", "sign of a sum of roots", "4 * b * b * N * N * M, 4 * a * a * M * M * N", "4 * a * a * M * M * N, 4 * b * b * N * N * M"),
    Mutation("fairopt/apportionment/marginal_greedy.py", "ties of errors to the larger task", "return self.before < other.before", "return self.before > other.before"),
    Mutation("fairopt/request_allocation.py", "minimum rounded down", "-(-checks.count(\"minimum\", minimum, 0) // unit)", "checks.count(\"minimum\", minimum, 0) // unit"),
    Mutation("fairopt/request_allocation.py", "greedy priorities do not fall", "priority[first] -= unit", "priority[first] -= 0"),
    Mutation("fairopt/multiplicative_weights.py", "sign of the rate", "np.log(w) + product", "np.log(w) - product"),
    Mutation("fairopt/multiplicative_weights.py", "gains measured from the worst one", "largest if eta > 0.0 else smallest", "largest if eta < 0.0 else smallest"),
    Mutation("fairopt/multiplicative_weights.py", "smoothing shares swapped", "(1.0 - share) * moved + share * target", "share * moved + (1.0 - share) * target"),
    Mutation("fairopt/multiplicative_weights.py", "mass of everybody", "np.where(moving, w, 0.0).sum", "np.where(True, w, 0.0).sum"),
    Mutation("fairopt/multiplicative_weights.py", "frozen and renormalised swapped", "moving = here if frozen else np.ones_like(here)", "moving = np.ones_like(here) if frozen else here"),
    Mutation("fairopt/cross_attention.py", "no square root", "np.sqrt(d) if temperature", "d if temperature"),
    Mutation("fairopt/cross_attention.py", "sign of the products", "np.exp((A - A.max(axis=-1, keepdims=True)) / T)", "np.exp((A.min(axis=-1, keepdims=True) - A) / T)"),
    Mutation("fairopt/fairgrad.py", "priority ignored", "(0.0 if priority is None else 1.0) +", "0.0 +"),
    Mutation("fairopt/fairgrad.py", "residual with alpha for 1/alpha", "(np.log(w) - np.log(p)) / alpha", "(np.log(w) - np.log(p)) * alpha"),
    Mutation("fairopt/fairgrad.py", "sign of the priority in the residual", "(np.log(w) - np.log(p)) / alpha", "(np.log(w) + np.log(p)) / alpha"),
    Mutation("fairopt/fairgrad.py", "best task for worst", "w, p).max(axis=-1)", "w, p).min(axis=-1)"),
    Mutation("fairopt/fairgrad.py", "bound of a projection beside zero weights", "np.where(stationary, none, found.direction_error)", "np.where(stationary, 0.0, found.direction_error)"),
    Mutation("fairopt/min_norm.py", "sign of the gap", "np.maximum(quad - slopes, 0.0)", "np.maximum(slopes - quad, 0.0)"),
    Mutation("fairopt/min_norm.py", "certificate dropped", "certificate=v if margin <= bound else None", "certificate=None"),
    Mutation("fairopt/min_norm.py", "gap scaled by the wrong length", "scale = size * np.maximum(d, size)", "scale = size * np.minimum(d, size)"),
    Mutation("fairopt/conflict_averse.py", "sign of the ball in the dual value", "+ c * high * length", "- c * high * length"),
    Mutation("fairopt/conflict_averse.py", "unresolved length dropped", "length = np.sqrt(square(v) + unknown(v))", "length = np.sqrt(square(v))"),
    Mutation("fairopt/conflict_averse.py", "ball violation dropped", "outside = np.maximum(off - c * low, 0.0)", "outside = 0.0 * off"),
    Mutation("fairopt/conflict_averse.py", "best task for worst", "slopes.min(axis=-1)", "slopes.max(axis=-1)"),
    Mutation("fairopt/conflict_averse.py", "reference ignored", "(0.0 if reference is None else 1.0) +", "0.0 +"),
    Mutation("fairopt/dual_cone.py", "larger for smaller", "np.minimum(d * ((w - r) / top), slopes)", "np.maximum(d * ((w - r) / top), slopes)"),
    Mutation("fairopt/dual_cone.py", "upgrad sums instead of averaging", "r = np.full(K, 1.0 / K)", "r = np.ones(K)"),
    Mutation("fairopt/pareto.py", "norm not rooted", "np.sqrt(np.maximum(quad, 0.0)), np.sqrt(bound)", "np.maximum(quad, 0.0), np.sqrt(bound)"),
    Mutation("fairopt/pareto.py", "weights of unit gradients returned", "v * np.exp(log_size.min() - log_size)", "v * 1.0"),
    Mutation("fairopt/pareto.py", "strict for weak", "Verdict.STATIONARY if norm <= 4.0 * rounding", "Verdict.STATIONARY if norm < 0.0 * rounding"),
    Mutation("fairopt/kernels/gram/min_norm.py", "linear term of the wrong scale", "q[i] = -least / d[i]", "q[i] = -least / (d[i] * d[i])"),
    Mutation("fairopt/kernels/gram/stationarity.py", "comparison the wrong way round", "if least > error:", "if least < error:"),
    Mutation("fairopt/kernels/gram/dual_cone_steps.py", "multipliers subtracted", "weights[i] = reference[i] + (out_of_unit(", "weights[i] = reference[i] - (out_of_unit("),
    Mutation("fairopt/kernels/gram/dual_cone_steps.py", "distance in another unit than the goal", "goal = accuracy * length", "goal = accuracy"),
    Mutation("fairopt/kernels/gram/dual_cone_steps.py", "refinement the wrong way", "u[P[a]] += move[a]", "u[P[a]] -= move[a]"),
    Mutation("fairopt/kernels/gram/direction_bound.py", "error of the matrix dropped", "(cone.error[0] * S + rounding * size) * SAFETY", "(rounding * size) * SAFETY"),
    Mutation("fairopt/kernels/gram/direction_bound.py", "square of the direction taken as exact", " + abs(point.v[k]) * point.zeta[k]\n    return math.sqrt", "\n    return math.sqrt"),
    Mutation("fairopt/kernels/gram/direction_bound.py", "products on the support taken as exact", "return abs(point.z[k]) + point.zeta[k]", "return abs(point.z[k])"),
    Mutation("fairopt/kernels/gram/direction_bound.py", "mean eigenvalue for the least", "return 1.0 / trace - cone.shift[0]", "return m / trace - cone.shift[0]"),
    Mutation("fairopt/kernels/gram/direction_bound.py", "tasks outside left to themselves", "if room >= R * (1.0 + cone.error[0]):", "if room >= 0.0:"),
    Mutation("fairopt/kernels/gram/direction_bound.py", "factor of the lemma dropped", "total += 2.0 * point.x[k] * (point.z[k]", "total += point.x[k] * (point.z[k]"),
    Mutation("fairopt/kernels/gram/direction_bound.py", "length of the reference taken as exact", "(cone.error[0] * S * S + size) * SAFETY, 0.0", "size * SAFETY, 0.0"),
    Mutation("fairopt/kernels/gram/progress_gap.py", "error of the progress dropped", " - ball.e * ball.d[i] * S)", ")"),
    Mutation("fairopt/kernels/gram/progress_gap.py", "unresolved length dropped", "math.sqrt(max(square(ball.A, v), 0.0) + ball.e * S * S)", "math.sqrt(max(square(ball.A, v), 0.0))"),
    Mutation("fairopt/kernels/gram/progress_gap.py", "not pulled into the ball", "share = radius / off", "share = 1.0"),
    Mutation("fairopt/kernels/gram/progress_gap.py", "length of the reference from above", "math.sqrt(max(total - error, 0.0)) / SAFETY, ", "math.sqrt(total + error), "),
    Mutation("fairopt/kernels/gram/progress_gap.py", "gap in the wrong unit", "size = max(abs(upper), square)", "size = (abs(upper) + square)"),
    Mutation("fairopt/kernels/gram/conflict_averse_bounds.py", "any gap is an answer", "if gap <= largest_gap(error):", "if gap <= 1.0:"),
    Mutation("fairopt/kernels/gram/conflict_averse_bounds.py", "weights as before they were pulled", "if not residual[0] <= limit:", "if residual[0] > 0.0:"),
    Mutation("fairopt/kernels/gram/conflict_averse.py", "stationary whatever the ball", "if known == STATIONARY and c >= 1.0:\n                status[0]", "if known == STATIONARY:\n                status[0]"),
    Mutation("fairopt/kernels/gram/conflict_averse.py", "error of the matrix ignored", "c, bound[0] + (n + 2.0) * EPS)", "c, (n + 2.0) * EPS)"),
    Mutation("fairopt/kernels/gram/fairgrad_newton.py", "priority in the wrong power", "(1.0 - theta) * log_p[i] +", "theta * log_p[i] +"),
    Mutation("fairopt/kernels/gram/cagrad_level.py", "level off the root", "q[i] = g[i] - mu * b[i]", "q[i] = g[i] + mu * b[i]"),
    Mutation("fairopt/kernels/gram/fairgrad_limits.py", "lengths of the gradients dropped", "q[i] = -scale / d[i]", "q[i] = -scale"),
    Mutation("fairopt/kernels/gram/residuals.py", "sign of the priority in the gap", "factor = log_scale + (log_w - log_p) / alpha", "factor = log_scale + (log_w + log_p) / alpha"),
    Mutation("fairopt/min_norm_gradients.py", "weights of unit gradients returned", "v = u * inverse\n", "v = u * 1.0\n"),
    Mutation("fairopt/conflict_averse_gradients.py", "rounding of the direction dropped", "max(moved, made.loss))\n    low = None", "made.loss)\n    low = None"),
    Mutation("fairopt/conflict_averse_gradients.py", "rounding of the weights dropped", "max(moved, made.loss))\n    low = None", "moved)\n    low = None"),
    Mutation("fairopt/conflict_averse_gradients.py", "what rounding takes from the direction dropped", "moved = length(rest) * (1.0 + D * EPS)", "moved = 0.0"),
    Mutation("fairopt/dual_cone_gradients.py", "rounding of the direction dropped", "rounding = 0.5 * EPS * float(np.linalg.norm(high)) * (1.0 + D * EPS)", "rounding = 0.0"),
    Mutation("fairopt/dual_cone_gradients.py", "rounding of an exact direction dropped", "error = 0.5 * EPS * SAFETY + ratio(", "error = ratio("),
    Mutation("fairopt/dual_cone_gradients.py", "second floats of two floats dropped", "low=made.low if costly(found, made.loss, problem.accuracy) else None", "low=None"),
    Mutation("fairopt/dual_cone_gradients.py", "second floats of fractions dropped", "low=low if loss > problem.accuracy else None", "low=None"),
    Mutation("fairopt/kernels/gram/double_double_progress.py", "error of squares dropped", "(cone.error * S * S + (2.0 * n + 8.0) * TWICE * terms) * SAFETY", "((2.0 * n + 8.0) * TWICE * terms) * SAFETY"),
    Mutation("fairopt/kernels/gram/double_double_progress.py", "unresolved length dropped", "total, rest = error, 0.0", "total, rest = 0.0, 0.0"),
    Mutation("fairopt/kernels/gram/double_double_progress.py", "resolved length taken as exact", "add(total, rest, error + SLACK * total, 0.0)", "add(total, rest, SLACK * total, 0.0)"),
    Mutation("fairopt/kernels/gram/double_double_progress.py", "length taken from below as exact", "add(total, rest, -error - SLACK * abs(total), 0.0)", "add(total, rest, -SLACK * abs(total), 0.0)"),
    Mutation("fairopt/kernels/gram/double_double_progress.py", "error of the progress dropped", "(cone.error * S + moved)", "(moved)"),
    Mutation("fairopt/kernels/gram/double_double_progress.py", "rounding of the direction dropped from its progress", "(cone.error * S + moved)", "(cone.error * S)"),
    Mutation("fairopt/kernels/gram/double_double_bound.py", "error of the matrix dropped from products", "(cone.error * S + doubles + floats) * SAFETY", "(doubles + floats) * SAFETY"),
    Mutation("fairopt/kernels/gram/double_double_bound.py", "length of the reference taken as exact", "(cone.error * S * S + (2.0 * n + 6.0)", "((2.0 * n + 6.0)"),
    Mutation("fairopt/kernels/gram/double_double_progress.py", "error along the reference dropped", "error = cone.error * weighted(ball.size, x) * weighted(ball.size, ball.y)", "error = 0.0"),
    Mutation("fairopt/kernels/gram/double_double_level.py", "not pulled into the ball", "share, share_low = divide(radius[0], radius[1], high, low)", "share, share_low = 1.0, 0.0"),
    Mutation("fairopt/kernels/gram/double_double_bound.py", "shift left in the eigenvalue", "least - cone.shift - m", "least - m"),
    Mutation("fairopt/utility.py", "factor 1 / (1 - alpha) dropped", "rate ** (1.0 - self.alpha) / (1.0 - self.alpha)", "rate ** (1.0 - self.alpha) / 1.0"),
    Mutation("fairopt/utility.py", "power for its inverse", "y ** (-1.0 / self.alpha)", "y ** (-1.0 * self.alpha)"),
    Mutation("fairopt/allocation/residual.py", "room for price", "_most(np.minimum(unused, share)", "_most(np.maximum(unused, share)"),
    Mutation("fairopt/allocation/residual.py", "caps cannot be exceeded", "feasible = max(_most(loads - 1.0), _most(_ratio(rates, problem.upper) - 1.0))", "feasible = _most(loads - 1.0)"),
    Mutation("fairopt/allocation/residual.py", "sign of the priority", "wanted = np.log(problem.priority[free]) - log_price[free]", "wanted = -np.log(problem.priority[free]) - log_price[free]"),
    Mutation("fairopt/allocation/residual.py", "always in prices", "/ max(1.0, problem.alpha)", "/ 1.0"),
    Mutation("fairopt/kernels/network/flow_rates.py", "power for its inverse", "(log_weight - math.log(q)) / alpha", "(log_weight - math.log(q)) * alpha"),
    Mutation("fairopt/kernels/network/progressive_filling.py", "frozen rates use nothing", "max(1.0 - used, 0.0) / moving", "1.0 / moving"),
    Mutation("fairopt/kernels/network/progressive_filling.py", "caps after the links", "bound[order[next_bound]] <= level[heap[0]]", "bound[order[next_bound]] > level[heap[0]]"),
    Mutation("fairopt/allocation/methods/linear_programme.py", "smallest total", "programme(-weight, scaled.by_link", "programme(weight, scaled.by_link"),
    Mutation("fairopt/allocation/multipath/certificate.py", "slack is free", "float(prices @ slack) + float(extra.sum())", "float(extra.sum())"),
    Mutation("fairopt/allocation/multipath/certificate.py", "lost utility is free", "float(extra.sum()) + float(lost.sum())", "float(extra.sum())"),
    Mutation("fairopt/allocation/multipath/certificate.py", "dearest path for cheapest", "price = np.minimum.reduceat(cost, first)", "price = np.maximum.reduceat(cost, first)"),
    Mutation("fairopt/allocation/multipath/problem.py", "most expensive path for cheapest", "np.minimum.reduceat(of_paths", "np.maximum.reduceat(of_paths"),
    Mutation("fairopt/allocation/multipath/lp_optimality_check.py", "gains do not count", "GAIN = 1e-4", "GAIN = 1e4"),
    Mutation("fairopt/allocation/multipath/solve.py", "never in stages", "and worth_staging(form, best.z)", "and not worth_staging(form, best.z)"),
    Mutation("fairopt/allocation/multipath/lexicographic_stages.py", "settled flows pay less than others", "ABOVE = 2.0 * DECADE", "ABOVE = -9.0 * DECADE"),
    Mutation("fairopt/allocation/multipath/lexicographic_stages.py", "limits twice as wide", "entries = (1.0 / x[of]", "entries = (0.5 / x[of]"),
    Mutation("fairopt/allocation/multipath/stage_merge.py", "prices of the last stage", "stage.prices >= stage.lowest + SIGNIFICANT", "stage.prices <= stage.lowest - 400.0"),
    Mutation("fairopt/allocation/multipath/newton.py", "sign of complementarity", "first * gap[lower] - second * gap[upper]", "first * gap[lower] + second * gap[upper]"),
    Mutation("fairopt/allocation/multipath/newton.py", "flows without curvature", "form.alpha * share * own[form.owner]", "0.0 * share * own[form.owner]"),
    Mutation("fairopt/allocation/multipath/path_pairs.py", "cheaper paths for costlier ones", "np.where(price > other,", "np.where(price < other,"),
    Mutation("fairopt/allocation/multipath/path_pairs.py", "nothing in common left out", "(paths[lower] - paths[upper])", "(paths[lower] + paths[upper])"),
    Mutation("fairopt/allocation/multipath/solve.py", "priority dropped", "_Scaled(problem, reduced, weight - centre, centre)", "_Scaled(problem, reduced, 0.0 * weight, centre)"),
    Mutation("mechanisms/auctions/exact/ranking.py", "ties for the later client", "bisect_left(others, (bid, client)) < k", "bisect_left(others, (bid, -client)) < k"),
    Mutation("mechanisms/auctions/exact/ranking.py", "one rank too many", "bisect_left(others, (bid, client)) < k", "bisect_left(others, (bid, client)) <= k"),
    Mutation("mechanisms/auctions/exact/ranking.py", "water shared by all, not by the rest", "left / (len(amounts) - filled)", "left / len(amounts)"),
    Mutation("mechanisms/auctions/exact/ranking.py", "a rank off by one", "ranking[k - 1][0] if k <= len(ranking)", "ranking[k - 2][0] if k <= len(ranking)"),
    Mutation("mechanisms/auctions/exact/ranking.py", "the client itself is not left out", "return ranking[:place] + ranking[place + 1 :]", "return ranking"),
    Mutation("mechanisms/auctions/max_min_fair.py", "winners' ranks for the other tasks", "k if t == task else k + 1) for t", "k if t == task else k) for t"),
    Mutation("mechanisms/auctions/max_min_fair.py", "own task tested at the losing rank", "k - 1 if t == task else k) for t", "k if t == task else k) for t"),
    Mutation("mechanisms/auctions/max_min_fair.py", "strict for weak at the cap", "k * sum(min(bid, cap) for bid in losers) <= budget", "k * sum(min(bid, cap) for bid in losers) < budget"),
    Mutation("mechanisms/auctions/max_min_fair.py", "cap dropped from the price", "return level, min(bid(task, level), water_level(losers(level), auction.budget / level))", "return level, bid(task, level)"),
    Mutation("mechanisms/auctions/exact/offers.py", "payment is the own bid", "        return price\n", "        return bid\n"),
    Mutation("mechanisms/auctions/exact/offers.py", "strict for weak at the price", "and bid <= price:", "and bid < price:"),
    Mutation("mechanisms/auctions/level_max_min.py", "payment of the last winner", "price = kth(ranking, level + 1, auction.outside[task])", "price = kth(ranking, level, auction.outside[task])"),
    Mutation("mechanisms/auctions/level_max_min.py", "strict for weak at the budget", "bool(k * sum(bids) <= auction.budget)", "bool(k * sum(bids) < auction.budget)"),
    Mutation("mechanisms/auctions/leave_one_out_level.py", "price one level too high", "return level, next_bids(level)[task]", "return level, next_bids(level + 1)[task]"),
    Mutation("mechanisms/auctions/leave_one_out_level.py", "other tasks at the winning rank", "ranks = [k if t == task else k + 1 for t in", "ranks = [k for t in"),
    Mutation("mechanisms/auctions/budget_fair.py", "larger for smaller price", "price = min(budget / k, kth(ranking, k + 1))", "price = max(budget / k, kth(ranking, k + 1))"),
    Mutation("mechanisms/auctions/budget_fair.py", "payment of the last winner", "kth(ranking, k + 1)) if k else None", "kth(ranking, k)) if k else None"),
    Mutation("mechanisms/auctions/budget_fair.py", "whole budget for each task", "exact_share(auction.bids[:, task], auction.budget / auction.num_tasks)", "exact_share(auction.bids[:, task], auction.budget)"),
    Mutation("mechanisms/auctions/budget_fair.py", "strict for weak", "k * kth(ranking, k) <= budget)", "k * kth(ranking, k) < budget)"),
    Mutation("mechanisms/auctions/greedy_max_min.py", "strict for weak", "if round_cost > left:", "if round_cost >= left:"),
    Mutation("mechanisms/auctions/greedy_max_min.py", "cost of the round before", "sum(kth(ranking, level + 1) for", "sum(kth(ranking, level) for"),
    Mutation("mechanisms/auctions/participation_fee.py", "fee of no more than one client", "- menu.fee * int(taken.any(axis=1).sum())", "- menu.fee * int(taken.any())"),
    Mutation("mechanisms/auctions/participation_fee.py", "room without the whole menu", "- _spend(menu, taken) - menu.most", "- _spend(menu, taken)"),
    Mutation("mechanisms/auctions/participation_fee.py", "fee dropped from the payment", "payments[client, task] = menu.prices[task] - part\n            due = due - part", "payments[client, task] = menu.prices[task]\n            due = due - part"),
    Mutation("mechanisms/auctions/participation_fee.py", "strict for weak at the fee", "wanted if surplus >= menu.fee", "wanted if surplus > menu.fee"),
    Mutation("mechanisms/auctions/posted_price.py", "money is never used up", "left = left - sum(menu[accepted[client]])", "left = left - 0"),
    Mutation("mechanisms/auctions/posted_price.py", "offers hang on what is accepted", "offered[client] = menu.sum() <= left", "offered[client] = sum(menu[accepted[client]]) <= left"),
    Mutation("mechanisms/auctions/posted_price.py", "no quota for the sample's price", "<= price, dtype=bool)][:level]", "<= price, dtype=bool)]"),
    Mutation("mechanisms/auctions/participation_fee.py", "the whole fee from one task, in floats", "part = np.minimum(due, np.maximum(gain, 0.0))", "part = due + 0.0 * gain"),
    Mutation("mechanisms/auctions/baselines.py", "strict for weak at the budget", "if bid <= left:", "if bid < left:"),
    Mutation("mechanisms/auctions/floats/order_statistics.py", "ranks count from the stretch", "index = ranks - self.below[:, np.newaxis] - 1", "index = ranks - 1"),
    Mutation("mechanisms/auctions/kernels/exact_comparison.py", "strict for weak at the budget", "return count == 0 or partials[count - 1] < 0.0", "return count > 0 and partials[count - 1] < 0.0"),
    Mutation("mechanisms/auctions/kernels/water_filling.py", "winners' ranks for the other tasks", "x[t] = other(b, rank, t, j + 1)", "x[t] = other(b, rank, t, j)"),
    Mutation("mechanisms/auctions/kernels/water_filling.py", "strict for weak at the price", "if bids[i, s] <= memory[place, s]:", "if bids[i, s] < memory[place, s]:"),
    Mutation("mechanisms/auctions/kernels/shares.py", "one rank too many", "return below + low\n", "return below + low + 1\n"),
    Mutation("mechanisms/auctions/kernels/spending.py", "a round that nobody bids for", "if b[s, k] == np.inf:\n                return int(k)", "if b[s, k] == np.inf:\n                return int(k) + 1"),
    Mutation("mechanisms/auctions/kernels/spending.py", "accepted prices paid twice", "count = add_exactly(partials, count, prices[i, s])", "count = add_exactly(partials, count, 2.0 * prices[i, s])"),
    Mutation("proofs/rocq/outcomes.py", "smallest margins kept", "(-margins[task], task)", "(margins[task], task)"),
    Mutation("proofs/rocq/outcomes.py", "capacity ignored", "[:capacity]", "[:]"),
    Mutation("proofs/rocq/outcomes.py", "ties to the later task", "(-margins[task], task)", "(-margins[task], -task)"),
    Mutation("proofs/rocq/outcomes.py", "pay without regard to who won", "tuple(pay if won else None for", "tuple(pay for"),
    Mutation("proofs/rocq/theorems.py", "a subject that differs is let through", "if seen == proved:", "if seen == proved or True:"),
    Mutation("proofs/rocq/theorems.py", "recorded auctions are not compared", "        if found is not None:\n", "        if False:\n"),
    Mutation("proofs/rocq/compiler.py", "a theorem without axioms is refused", "found.assumptions.get(name) != CLOSED", "found.assumptions.get(name) == CLOSED"),
    Mutation("proofs/rocq/compiler.py", "sources out of order", "\"Auction\", \"ProportionalShare\", \"Floor\"", "\"Auction\", \"Floor\", \"ProportionalShare\""),
    Mutation("mechanisms/audits/symbolic/linear_form.py", "terms are not scaled", "{name: part * number for", "{name: part for"),
    Mutation("mechanisms/audits/symbolic/linear_form.py", "strict for weak", "return self._compared(other, NEGATIVE | ZERO)", "return self._compared(other, NEGATIVE)"),
    Mutation("mechanisms/audits/symbolic/linear_form.py", "signs not turned with the form", "sign, mask = _opposite(sign), _opposite(mask)", "sign, mask = sign, mask"),
    Mutation("mechanisms/audits/symbolic/paths.py", "no decision is tried the other way", "if depth >= known:", "if depth > len(decisions):"),
    Mutation("mechanisms/audits/symbolic/programs.py", "a lie that gains is let through", "or feigned <= gain:", "or feigned >= gain:"),
    Mutation("mechanisms/audits/symbolic/programs.py", "the menu is not compared", "chosen = bid < math.inf and pay == price and bid <= pay if won else bid >= price", "chosen = True"),
    Mutation("mechanisms/audits/symbolic/prove.py", "the first client only", "for i in range(shapes[0].clients))", "for i in range(0))"),
)  # fmt: skip
"""Signs, exponents, ranks, strict for weak, dropped terms: one in every place that decides."""
