"""Bugs that published diffusion libraries shipped, as small changes of our code.

Each must be noticed by the tests named beside it (`test_mutants.py`), or is impossible by construction.
`python tests/mutants.py` prints the table in docs/known_bugs.md.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    number: int
    bug: str
    file: str
    old: str
    new: str
    tests: str  # file::name, several separated by blanks


SCHEDULE, GAUSSIAN, HEADS = "theory/schedule.py", "theory/gaussian.py", "theory/heads.py"
LOSSES, TRAINER = "theory/losses.py", "training/trainer.py"
GRIDS, FIRST_ORDER = "theory/plans/grids.py", "theory/plans/first_order.py"
HEUN, MULTISTEP, MAKE = "theory/plans/heun.py", "theory/plans/multistep.py", "theory/plans/make.py"
EXECUTOR, SAMPLER, UNET = "sampling/executor.py", "sampling/sampler.py", "nn/unet.py"
SLOTS, GUIDANCE = "sampling/slots.py", "sampling/guidance.py"
MEASUREMENTS, PICTURES = "sampling/measurements.py", "sampling/pictures.py"
TUNE, PROBE, DENOISER = "sampling/tune.py", "evaluation/probe.py", "denoiser.py"
DRAWING, CLI_PICTURES, RUN = "cli/drawing.py", "cli/pictures.py", "training/run.py"

MUTANTS = [
    Mutant(
        1,
        "the table of the time before is shifted the wrong way",
        GAUSSIAN,
        "bar_t, bar_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)",
        "bar_t, bar_s = schedule.alpha_bar_at(s), schedule.alpha_bar_at(t)",
        "test_theory.py::test_posterior_equals_eqs_6_and_7_for_all_t",
    ),
    Mutant(
        1,
        "one time before is taken as two",
        GAUSSIAN,
        "A, B, C = posterior(schedule, t, np.asarray(t) - 1 if s is None else s)",
        "A, B, C = posterior(schedule, t, np.maximum(np.asarray(t) - 2, 0) if s is None else s)",
        "test_theory.py::test_mean_in_eps_is_the_posterior_mean_and_eq_11",
    ),
    Mutant(
        2,
        "the cosine table and its betas don't belong together",
        SCHEDULE,
        "u = np.arange(T + 1) / T\n",
        "u = np.arange(T + 1) / (T + 1)\n",
        "test_theory.py::test_linear_and_cosine_equal_the_papers_for_all_t",
    ),
    Mutant(
        3,
        "a square root is missing",
        GAUSSIAN,
        "column(np.sqrt(beta_ts), x_s) * eps",
        "column(beta_ts, x_s) * eps",
        "test_theory.py::test_steps_compose_into_the_closed_form",
    ),
    Mutant(
        4,
        "beta's range is not scaled with T",
        SCHEDULE,
        "    if T == 1000:\n",
        "    if T:\n",
        "test_theory.py::test_every_T_keeps_the_terminal_signal_small_and_beta_within_bounds",
    ),
    Mutant(
        5,
        "scaling by 1000/T takes beta out of (0, 1) for T <= 20",
        SCHEDULE,
        "    if T == 1000:\n        return 1e-4, 0.02\n",
        "    if T:\n        return 1e-4 * 1000 / T, 0.02 * 1000 / T\n",
        "test_theory.py::test_every_T_keeps_the_terminal_signal_small_and_beta_within_bounds",
    ),
    Mutant(
        6,
        "cosine with eps explodes at the first step (x0_hat not clipped)",
        EXECUTOR,
        "x0_hat = act(x0_hat)",
        "act(x0_hat)",
        "test_exact_laws.py::test_a_small_error_of_the_network_never_explodes_within_the_datas_range",
    ),
    Mutant(
        7,
        "zero terminal signal is let in, and divided by",
        SCHEDULE,
        "alpha_bar[-1] > 0)",
        "alpha_bar[-1] >= 0)",
        "test_theory.py::test_alpha_bar_must_fall_from_1_and_stay_above_0",
    ),
    Mutant(
        8,
        "training never sees T",
        TRAINER,
        "np.minimum(np.floor(u * T), T - 1) + 1",
        "np.maximum(np.floor(u * T), 1)",
        "test_training.py::test_times_are_whole_uniform_on_1_to_T_and_never_outside",
    ),
    Mutant(
        8,
        "sampling starts below the largest trained time",
        MAKE,
        "start = schedule.T if start is None else start",
        "start = schedule.T - 1 if start is None else start",
        "test_sampling.py::test_from_pure_noise_the_first_state_is_the_noise_of_step_0",
    ),
    Mutant(
        10,
        "t - 1 is the time before, while jumping further",
        FIRST_ORDER,
        "A, B, C = posterior(schedule, t, s)",
        "A, B, C = posterior(schedule, t, t - 1)",
        "test_exact_laws.py::test_rows_use_exactly_the_consecutive_pairs_of_the_grid",
    ),
    Mutant(
        11,
        "t - T // N is the time before, while the grid is elsewhere",
        FIRST_ORDER,
        "    C = eta",
        "    s = np.maximum(t - times[0] // len(t), 0)\n    C = eta",
        "test_exact_laws.py::test_every_step_keeps_the_marginal",
    ),
    Mutant(
        12,
        "one step more than asked for",
        GRIDS,
        "left = np.arange(steps, -1, -1)",
        "left = np.arange(steps + 1, -1, -1)",
        "test_exact_laws.py::test_every_grid_starts_at_the_top_ends_clean_and_has_its_number_of_steps",
    ),
    Mutant(
        13,
        "the grid doesn't start at T",
        GRIDS,
        "(2 * int(start) * left + steps) // (2 * steps)",
        "(int(start) // steps) * left",
        "test_exact_laws.py::test_every_grid_starts_at_the_top_ends_clean_and_has_its_number_of_steps",
    ),
    Mutant(
        14,
        "the network sees t where its weights know t - 1",
        HEADS,
        "-np.sqrt(1 - bar) / np.sqrt(bar), t - 1)",
        "-np.sqrt(1 - bar) / np.sqrt(bar), t)",
        "test_theory.py::test_the_network_sees_0_based_times",
    ),
    Mutant(
        15,
        "the last step leaves the noise of t = 1",
        FIRST_ORDER,
        "return times[:-1], times[1:]",
        "return times[:-1], np.maximum(times[1:], 0.5)",
        "test_exact_laws.py::test_the_last_step_ends_clean",
    ),
    Mutant(
        16,
        "a step past the end",
        GRIDS,
        "if times[-1] < 0:",
        "if times[-1] < -1e9:",
        "test_exact_laws.py::test_times_must_fall_to_0",
    ),
    Mutant(
        17,
        "DDIM uses alpha_bar of the time before for x_t",
        FIRST_ORDER,
        "return A, np.sqrt(bar_s) - A * np.sqrt(bar_t)",
        "return A, np.sqrt(bar_s) - A * np.sqrt(bar_s)",
        "test_exact_laws.py::test_every_step_keeps_the_marginal",
    ),
    Mutant(
        18,
        "x_0 from eps with the wrong sign",
        HEADS,
        "1 / np.sqrt(bar), -np.sqrt(1 - bar) / np.sqrt(bar)",
        "1 / np.sqrt(bar), np.sqrt(1 - bar) / np.sqrt(bar)",
        "test_theory.py::test_every_head_recovers_x_0_from_its_papers_target",
    ),
    Mutant(
        18,
        "v with the wrong sign",
        HEADS,
        "np.sqrt(bar), -np.sqrt(1 - bar), t - 1)",
        "np.sqrt(bar), np.sqrt(1 - bar), t - 1)",
        "test_theory.py::test_every_head_recovers_x_0_from_its_papers_target",
    ),
    Mutant(
        19,
        "the output of an x_0 network is used as eps",
        HEADS,
        '"x0": _x0,',
        '"x0": _eps,',
        "test_theory.py::test_every_head_recovers_x_0_from_its_papers_target",
    ),
    Mutant(
        21,
        "the clip range is always -1 to 1",
        SAMPLER,
        "clip_x0(*low_high)",
        "clip_x0(-1.0, 1.0)",
        "test_sampling.py::test_the_range_of_other_data_is_not_minus_1_to_1",
    ),
    Mutant(
        21,
        "unbounded data are clipped",
        "data/spec.py",
        "            return None\n        return (self.low",
        "            return -1.0, 1.0\n        return (self.low",
        "test_sampling.py::test_a_model_without_classes_or_bounds_says_so",
    ),
    Mutant(
        23,
        "DDIM's noise is that of one step, not of the jump",
        FIRST_ORDER,
        "C = eta * posterior(schedule, t, s)[2]",
        "C = eta * posterior(schedule, t, t - 1)[2]",
        "test_exact_laws.py::test_ddim_with_eta_1_is_ancestral_with_the_posterior_variance",
    ),
    Mutant(
        23,
        "DDIM's direction doesn't make room for the noise",
        FIRST_ORDER,
        "A = np.sqrt((1 - bar_s - C**2) / (1 - bar_t))",
        "A = np.sqrt((1 - bar_s) / (1 - bar_t))",
        "test_exact_laws.py::test_every_step_keeps_the_marginal",
    ),
    Mutant(
        26,
        "the start is noised for the wrong end of the plan",
        SAMPLER,
        "denoiser.data, float(plan.times[0])",
        "denoiser.data, float(plan.times[-2])",
        "test_sampling.py::test_a_clean_sample_is_noised_to_t_and_denoised_from_t"
        " test_sampling.py::test_any_number_of_steps",
    ),
    Mutant(
        28,
        "a time that comes twice is let in",
        GRIDS,
        "if not np.all(np.diff(times) < 0):",
        "if not np.all(np.diff(times) <= 0):",
        "test_exact_laws.py::test_times_must_fall_to_0",
    ),
    Mutant(
        31,
        "an option that a sampler doesn't have is ignored",
        MAKE,
        "extra = sorted(set(options) - set(accepted))",
        "extra, options = [], {k: v for k, v in options.items() if k in accepted}",
        "test_exact_laws.py::test_plans_refuse_what_they_cannot_do",
    ),
    Mutant(
        32,
        "a real sample is noised to t + 1 and denoised from t",
        SAMPLER,
        "q_sample(schedule, clean[where], start, z)",
        "q_sample(schedule, clean[where], min(start + 1, schedule.T), z)",
        "test_sampling.py::test_a_clean_sample_is_noised_to_t_and_denoised_from_t",
    ),
    Mutant(
        36,
        "min-SNR takes the larger",
        LOSSES,
        "np.minimum(_snr(schedule, t), MIN_SNR_GAMMA)",
        "np.maximum(_snr(schedule, t), MIN_SNR_GAMMA)",
        "test_theory.py::test_the_losses_equal_their_definitions_for_every_head",
    ),
    Mutant(
        36,
        "the weight for v is that for eps",
        LOSSES,
        "_snr(schedule, t) + 1,",
        "_snr(schedule, t),",
        "test_theory.py::test_the_losses_equal_their_definitions_for_every_head",
    ),
    Mutant(
        36,
        "a weight in x_0-space is used in the network's",
        LOSSES,
        "c_out ** 2",
        "c_out ** 0",
        "test_theory.py::test_the_losses_equal_their_definitions_for_every_head",
    ),
    Mutant(
        37,
        "the gradients of micro-batches add up to a multiple",
        TRAINER,
        "(each.sum() / len(t)).backward()",
        "each.mean().backward()",
        "test_training.py::test_accumulation_gives_the_same_update",
    ),
    Mutant(
        37,
        "the average moves once a micro-batch",
        TRAINER,
        "            losses.append(each.detach())\n",
        "            losses.append(each.detach())\n            self._average() if self.step else None\n",
        "test_training.py::test_the_average_follows_its_formula_once_a_step",
    ),
    Mutant(
        38,
        "the average is never stepped",
        TRAINER,
        "        self._average()\n",
        "",
        "test_training.py::test_the_average_follows_its_formula_once_a_step",
    ),
    Mutant(
        38,
        "buffers are averaged",
        TRAINER,
        "        with torch.no_grad():\n            for name, parameter in self.parameters.items():\n"
        "                self.averages",
        "        for a, b in zip(self.ema.net.buffers(), self.model.net.buffers()):\n"
        "            a.lerp_(b, 1 - decay)\n"
        "        with torch.no_grad():\n            for name, parameter in self.parameters.items():\n"
        "                self.averages",
        "test_training.py::test_buffers_are_not_averaged_and_the_schedule_is_none_of_the_weights",
    ),
    Mutant(
        38,
        "the average is lost on resuming",
        TRAINER,
        'self.ema.net.load_state_dict(parts["ema"])',
        'self.ema.net.load_state_dict(parts["net"])',
        "test_training.py::test_every_way_goes_on_to_the_bit",
    ),
    Mutant(
        39,
        "the data stay in [0, 1]",
        "data/spec.py",
        "(images.astype(np.float32) - np.float32(self.offset)) / np.float32(self.scale)",
        "images.astype(np.float32) / np.float32(2 * self.scale)",
        "test_sampling.py::test_a_clean_sample_is_noised_to_t_and_denoised_from_t",
    ),
    Mutant(
        39,
        "the way back makes everything positive",
        "data/spec.py",
        "images = np.asarray(x_0, dtype=np.float64) * self.scale + self.offset",
        "images = np.maximum(np.asarray(x_0, dtype=np.float64), 0) * self.scale + self.offset",
        "test_sampling.py::test_the_range_of_other_data_is_not_minus_1_to_1",
    ),
    Mutant(
        40,
        "what attention computes is thrown away",
        UNET,
        "return x + self.out(h).transpose(1, 2).unflatten(2, x.shape[-2:])",
        "return x + self.out(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[-2:])",
        "test_nn.py::test_attention_is_softmax_over_the_keys",
    ),
    Mutant(
        40,
        "softmax over the queries",
        UNET,
        "F.scaled_dot_product_attention(q, k, v)",
        "F.scaled_dot_product_attention(k, q, v)",
        "test_nn.py::test_attention_is_softmax_over_the_keys",
    ),
    Mutant(
        40,
        "the skip of the top level is missing",
        UNET,
        "        skips = [h]\n        for",
        "        skips = [torch.zeros_like(h)]\n        for",
        "test_nn.py::test_every_block_on_the_way_up_gets_its_skip",
    ),
    Mutant(
        40,
        "sines and cosines are swapped",
        UNET,
        "[angle.sin(), angle.cos()]",
        "[angle.cos(), angle.sin()]",
        "test_nn.py::test_time_embedding_is_sines_then_cosines_from_1_to_1e_4",
    ),
    Mutant(
        41,
        "the frequencies of the time embedding are made in bfloat16",
        UNET,
        "(self.count - 1) * exponent)",
        "(self.count - 1) * exponent).bfloat16()",
        "test_nn.py::test_reduced_precision_touches_the_network_alone",
    ),
    Mutant(
        41,
        "noise is added in reduced precision",
        TRAINER,
        "x_t = q_sample(schedule, x_0, t, eps)",
        "x_t = q_sample(schedule, x_0.bfloat16(), t, eps.bfloat16()).float()",
        "test_training.py::test_the_simple_loss_is_algorithm_1",
    ),
    Mutant(
        42,
        "only one sample of the batch is trained on",
        TRAINER,
        "(each.sum() / len(t)).backward()",
        "each[0].backward()",
        "test_training.py::test_accumulation_gives_the_same_update",
    ),
    Mutant(
        42,
        "the same noise for every sample",
        SLOTS,
        "sample_noise(seed, i, step, shape)",
        "sample_noise(seed, 0, step, shape)",
        "test_sampling.py::test_sample_i_is_the_same_bytes_alone_in_a_batch_and_in_reverse",
    ),
    Mutant(
        43,
        "a batch larger than the data set never comes",
        "data/dataset.py",
        "epochs, within = np.divmod(places, len(self.training))",
        "epochs, within = places // len(self.training), places",
        "test_training.py::test_less_data_than_a_batch_trains",
    ),
    Mutant(
        45,
        "another expression for log(1 - alpha_bar_T) in the prior term",
        LOSSES,
        "bar - math.log1p(-bar))",
        "bar - math.log(1 + bar))",
        "test_theory.py::test_the_bound_of_a_gaussian_is_its_exact_value",
    ),
    Mutant(
        45,
        "the entropy is missing from the terms of the bound",
        LOSSES,
        "0.5 * (ratio - 1 - np.log(ratio)) + ",
        "0.5 * (ratio - 1) + ",
        "test_theory.py::test_the_bound_of_a_gaussian_is_its_exact_value",
    ),
    Mutant(
        24,
        "churn's noise is multiplied by gamma instead of S_noise",
        HEUN,
        "churn_noise * np.sqrt(noise)",
        "min(churn / n, np.sqrt(2) - 1) * np.sqrt(noise)",
        "test_solvers.py::test_every_row_keeps_the_marginal_of_a_point",
    ),
    Mutant(
        24,
        "S_noise is left out",
        HEUN,
        "churn_noise * np.sqrt(noise)",
        "np.sqrt(noise)",
        "test_solvers.py::test_every_sampler_has_the_law_of_its_papers_algorithm",
    ),
    Mutant(
        24,
        "the loop is one step short",
        HEUN,
        "    for k in range(n):\n",
        "    for k in range(max(n - 1, 1)):\n",
        "test_solvers.py::test_every_sampler_makes_exactly_its_evaluations_and_ends_clean",
    ),
    Mutant(
        24,
        "the slope is one evaluation stale: the corrector has Euler's own",
        HEUN,
        "return 1.0, [-c, c]",
        "return 1.0, [0.0, 0.0]",
        "test_solvers.py::test_the_error_falls_with_the_theoretical_order",
    ),
    Mutant(
        25,
        "an SDE solver adds noise and doesn't drift for it",
        MULTISTEP,
        "kappa = 1 + eta**2",
        "kappa = np.ones_like(eta)",
        "test_solvers.py::test_every_row_keeps_the_marginal_of_a_point",
    ),
    Mutant(
        25,
        "a fitted plan adds noise early instead of late",
        TUNE,
        "plan.alpha_bar[1:] > 0.5",
        "plan.alpha_bar[1:] < 0.5",
        "test_tune.py::test_with_noise_its_late_rows_are_those_of_the_sde_on_the_same_times_but_for_the_last",
    ),
    Mutant(
        25,
        "the corrector starts from the state that was predicted",
        MULTISTEP,
        "        B[k, 1:] -= A[k] * predictor[k - 1]\n",
        "",
        "test_solvers.py::test_every_row_keeps_the_marginal_of_a_point",
    ),
    Mutant(
        29,
        "the gradient of the guidance is taken at x0_hat instead of x_t",
        MEASUREMENTS,
        "torch.autograd.grad(miss.square().sum(), x)",
        "torch.autograd.grad(miss.square().sum(), x_0)",
        "test_guidance.py::test_the_gradient_of_a_measurement_is_taken_at_x_t",
    ),
    Mutant(
        30,
        "label dropout is active at sampling",
        DENOISER,
        "        x = column(row.c_in, x_t) * x_t",
        "        if label is not None and self.label_dropout:\n"
        "            label = torch.where(torch.rand(len(label)) < self.label_dropout, -1, label)\n"
        "        x = column(row.c_in, x_t) * x_t",
        "test_guidance.py::test_scale_1_is_the_conditional_model_to_the_byte_and_asks_one_network",
    ),
    Mutant(
        30,
        "the loss on held-out samples hides labels",
        "training/watch.py",
        "        batch = trainer.data.take(indices)\n",
        "        from .trainer import drop_labels\n"
        "        batch = trainer.data.take(indices)\n"
        "        batch = batch._replace(label=drop_labels(trainer.config, batch.label, 0))\n",
        "test_guidance.py::test_labels_are_hidden_in_training_alone",
    ),
    Mutant(
        30,
        "the labels of a whole batch are hidden, or none",
        TRAINER,
        '"label_dropout", k).random(len(label)) <',
        '"label_dropout", k).random() <',
        "test_guidance.py::test_labels_are_hidden_one_by_one_with_their_probability",
    ),
    Mutant(
        30,
        "no class is the first class",
        UNET,
        "emb = emb + known * self.class_embedding",
        "emb = emb + self.class_embedding",
        "test_guidance.py::test_no_class_adds_nothing_to_the_embedding",
    ),
    Mutant(
        30,
        "rescaling is left out of guidance by the class",
        GUIDANCE,
        "        if guidance.rescale:\n",
        "        if guidance.rescale and guidance.by is not None:\n",
        "test_guidance.py::test_every_option_acts_in_every_sampler",
    ),
    Mutant(
        30,
        "the rescale option is not passed on",
        DRAWING,
        'how["guidance_rescale"], by)',
        "0.0, by)",
        "test_guidance.py::test_the_command_hands_on_every_option",
    ),
    Mutant(
        30,
        "the better and the worse prediction are mixed up",
        GUIDANCE,
        "out = bad + guidance.scale * (good - bad)",
        "out = good + guidance.scale * (bad - good)",
        "test_guidance.py::test_one_guided_step_is_its_closed_form",
    ),
    Mutant(
        30,
        "the interval is open at the wrong end",
        GUIDANCE,
        "self.scale != 1 and low < t <= high",
        "self.scale != 1 and low <= t < high",
        "test_guidance.py::test_two_networks_are_asked_exactly_at_low_below_t_to_high",
    ),
    Mutant(
        30,
        "a worse model is asked for no class",
        GUIDANCE,
        "other(x_t, t, label)",
        "other(x_t, t, None if label is None else torch.full_like(label, NO_CLASS))",
        "test_guidance.py::test_another_model_is_asked_for_the_same_class",
    ),
    Mutant(
        31,
        "the class is silently ignored where a picture is given",
        SAMPLER,
        "if label is None and free and",
        "if free and",
        "test_guidance.py::test_what_is_given_has_no_class_unless_told_or_guided",
    ),
    Mutant(
        31,
        "a sampler that is asked for is ignored where a plan was fitted",
        SAMPLER,
        "alone = sampler is None and grid is None",
        "alone = grid is None",
        "test_tune.py::test_and_for_nothing_else",
    ),
    Mutant(
        31,
        "a plan fitted to other guidance is used",
        SAMPLER,
        'if plan.num_evaluations == steps and plan.made_by["guidance"] == (guidance or Guidance()).facts():',
        "if plan.num_evaluations == steps:",
        "test_tune.py::test_and_for_nothing_else",
    ),
    Mutant(
        38,
        "a checkpoint is loaded without its average",
        DENOISER,
        'name.removeprefix("ema."): t for name, t in tensors.items() if name.startswith("ema.")',
        'name.removeprefix("net."): t for name, t in tensors.items() if name.startswith("net.")',
        "test_guidance.py::test_an_earlier_checkpoint_of_the_run_is_such_a_model",
    ),
    Mutant(
        25,
        "the shift towards what was measured has not the size that keeps the law",
        MEASUREMENTS,
        "(2 * math.sqrt(schedule.alpha_bar_at(t)) * measured.operator.norm2)",
        "(2 * measured.operator.norm2)",
        "test_pictures.py::test_by_gradient_the_law_is_nearly_the_conditional_one_for_data_of_unit_variance",
    ),
    Mutant(
        26,
        "two noised pictures are brought back from T, whatever their noise",
        PICTURES,
        '"start": start,',
        '"start": schedule.T,',
        "test_pictures.py::test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t",
    ),
    Mutant(
        31,
        "an option of the command line is ignored",
        DRAWING,
        '        "churn",\n',
        "",
        "test_commands.py::test_options_reach_the_plan",
    ),
    Mutant(
        32,
        "two pictures are noised to t + 1 and brought back from t",
        PICTURES,
        "bar = float(schedule.alpha_bar_at(start))",
        "bar = float(schedule.alpha_bar_at(min(start + 1, schedule.T)))",
        "test_pictures.py::test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t",
    ),
    Mutant(
        33,
        "the known part is not restored at the last step",
        EXECUTOR,
        "if s == 0 and (plan.A[k] or np.any(plan.B[k, 1:])):",
        "if False:",
        "test_pictures.py::test_the_run_itself_ends_at_what_is_known",
    ),
    Mutant(
        33,
        "known pixels come back through the model's range, not to the bit",
        PICTURES,
        "np.where(operator.known.numpy(), measured, samples.images)",
        "samples.images",
        "test_pictures.py::test_known_pixels_come_back_to_the_bit_whatever_else_is_in_the_picture",
    ),
    Mutant(
        33,
        "clipping comes after the projection, and undoes it",
        SAMPLER,
        "on_x0 += measured.on_x0()",
        "on_x0 = measured.on_x0() + on_x0",
        "test_pictures.py::test_the_projection_comes_after_clipping",
    ),
    Mutant(
        33,
        "known pixels are given the noise of the time after",
        EXECUTOR,
        "bar = float(plan.alpha_bar[k])",
        "bar = float(plan.alpha_bar[k + 1])",
        "test_pictures.py::test_known_pixels_have_at_every_time_the_noise_of_that_time",
    ),
    Mutant(
        33,
        "the mask is the wrong way round",
        MEASUREMENTS,
        "return torch.where(self.known.to(x.device), y, x)",
        "return torch.where(self.known.to(x.device), x, y)",
        "test_pictures.py::test_known_pixels_are_put_back_to_the_bit",
    ),
    Mutant(
        34,
        "on the way up x0_hat is predicted at the time after, and used with alpha_bar of this one",
        MULTISTEP,
        "return Plan(times, schedule.alpha_bar_at(times), A, B, C, made_by=made_by)",
        "return Plan(np.append(times[1:], schedule.T), schedule.alpha_bar_at(times), "
        "A, B, C, made_by=made_by)",
        "test_pictures.py::test_predictions_are_made_where_x_is_from_t_1_to_below_T",
    ),
    Mutant(
        34,
        "the way up goes beyond the top",
        MULTISTEP,
        "times = log_snr(schedule, schedule.T, steps + 1)[-2::-1]",
        "times = np.append(log_snr(schedule, schedule.T, steps)[-2::-1], schedule.T + 1)",
        "test_pictures.py::test_predictions_are_made_where_x_is_from_t_1_to_below_T",
    ),
    Mutant(
        35,
        "the weights of all stand where one number a picture belongs",
        PICTURES,
        "w = np.linspace(0, 1, n).reshape(-1, 1, 1, 1)",
        "w = np.linspace(0, 1, n)",
        "test_pictures.py::test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t",
    ),
    Mutant(
        35,
        "each picture on the way has its own noise",
        PICTURES,
        "eps = sample_noise(seed, 0, 0, spec.shape)",
        "eps = np.stack([sample_noise(seed, i, 0, spec.shape) for i in range(n)])",
        "test_pictures.py::test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t",
    ),
]

BY_CONSTRUCTION = {
    6: "beside the mutant: static clipping to the stored range is on wherever the data have one",
    9: "times are floor(uT) + 1 for u in [0, 1), at most T",
    20: "a plan's row has only x and x0_hat: eps_hat is not kept, so it cannot be left behind by a clip",
    27: "a plan is a value and the history is local to a run: there is no state to reuse",
    28: "beside the mutant: there is no step counter; a run is a loop over rows",
    29: "beside the mutant: no classifier guides; the only gradient is that of a measurement, over x_t",
    37: "beside the mutants: rate, clipping, optimiser and average act once, in `Trainer.update`",
    42: "beside the mutants: noise is a function of (seed, index, step), so no two draws share a generator",
}

LATER = {
    22: "learned variances are not there",
    44: "evaluation",
}


def table() -> str:
    """The mutants and what is impossible by construction, as Markdown."""
    lines = ["| bug | what it was | here | noticed by |", "|---|---|---|---|"]
    rows = [
        (
            m.number,
            m.bug,
            f"mutant of `{m.file}`",
            ", ".join(f"`{t.split('::')[1]}`" for t in m.tests.split()),
        )
        for m in MUTANTS
    ]
    rows += [(n, "", f"impossible: {why}", "") for n, why in BY_CONSTRUCTION.items()]
    rows += [(n, "", f"later: {why}", "") for n, why in LATER.items()]
    lines += [f"| {' | '.join(map(str, row))} |" for row in sorted(rows, key=lambda row: row[0])]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
