"""Bugs that published diffusion libraries shipped, as small changes of our code.

Each must be noticed by the tests named beside it (`test_mutants.py`), or is impossible by construction.
`python tests/mutants.py` prints the table in docs/known_bugs.md.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change from `old` to `new` in what `function` names, `room.module:name` (see mutation.py)."""

    number: int
    bug: str
    function: str
    old: str
    new: str
    tests: str  # file::name, several separated by blanks


THEORY = [
    Mutant(
        1,
        "the table of the time before is shifted the wrong way",
        "theory.gaussian:posterior",
        "t, s = schedule.at(t), schedule.at(s)",
        "t, s = schedule.at(s), schedule.at(t)",
        "test_theory.py::test_posterior_equals_eqs_6_and_7_for_all_t",
    ),
    Mutant(
        1,
        "one time before is taken as two",
        "theory.gaussian:q_posterior",
        "t.t - 1",
        "np.maximum(t.t - 2, 0)",
        "test_theory.py::test_mean_in_eps_is_the_posterior_mean_and_eq_11",
    ),
    Mutant(
        2,
        "the cosine table and its betas don't belong together",
        "theory.schedule:Schedule.cosine",
        "np.arange(T + 1) / T",
        "np.arange(T + 1) / (T + 1)",
        "test_theory.py::test_linear_and_cosine_equal_the_papers_for_all_t",
    ),
    Mutant(
        3,
        "a square root is missing",
        "theory.gaussian:q_sample",
        "xp.sqrt(beta_ts)",
        "beta_ts",
        "test_theory.py::test_steps_compose_into_the_closed_form",
    ),
    Mutant(
        4,
        "beta's range is not scaled with T",
        "theory.linear_betas:linear_bounds",
        "T == 1000",
        "T",
        "test_theory.py::test_every_T_keeps_the_terminal_signal_small_and_beta_within_bounds",
    ),
    Mutant(
        5,
        "scaling by 1000/T takes beta out of (0, 1) for T <= 20",
        "theory.linear_betas:linear_bounds",
        "if T == 1000:\n    return 1e-4, 0.02",
        "return 1e-4 * 1000 / T, 0.02 * 1000 / T",
        "test_theory.py::test_every_T_keeps_the_terminal_signal_small_and_beta_within_bounds",
    ),
    Mutant(
        7,
        "zero terminal signal is let in, and divided by",
        "theory.schedule:Schedule.__post_init__",
        "alpha_bar[-1] > 0",
        "alpha_bar[-1] >= 0",
        "test_theory.py::test_alpha_bar_must_fall_from_1_and_stay_above_0",
    ),
    Mutant(
        8,
        "sampling starts below the largest trained time",
        "theory.plans.make:make_plan",
        "schedule.T if start is None else start",
        "schedule.T - 1 if start is None else start",
        "test_solvers.py::test_every_sampler_makes_exactly_its_evaluations_and_ends_clean",
    ),
    Mutant(
        10,
        "t - 1 is the time before, while jumping further",
        "theory.plans.first_order:ancestral",
        "posterior(schedule, t, s)",
        "posterior(schedule, t, t - 1)",
        "test_exact_laws.py::test_rows_use_exactly_the_consecutive_pairs_of_its_times",
    ),
    Mutant(
        11,
        "t - T // N is the time before, while the times are elsewhere",
        "theory.plans.first_order:ddim",
        "C = eta * posterior(schedule, t, s)[2]",
        "s = np.maximum(t - times[0] // len(t), 0)\nC = eta * posterior(schedule, t, s)[2]",
        "test_exact_laws.py::test_every_step_keeps_the_marginal",
    ),
    Mutant(
        12,
        "one step more than asked for",
        "theory.plans.spacing:trailing",
        "np.arange(intervals, -1, -1)",
        "np.arange(intervals + 1, -1, -1)",
        "test_solvers.py::test_the_first_time_is_the_start_whatever_the_numbers_are",
    ),
    Mutant(
        13,
        "the times don't start at T",
        "theory.plans.spacing:trailing",
        "(2 * int(start) * left + intervals) // (2 * intervals)",
        "int(start) // intervals * left",
        "test_solvers.py::test_the_first_time_is_the_start_whatever_the_numbers_are",
    ),
    Mutant(
        14,
        "the network sees t where its weights know t - 1",
        "theory.parametrization:_eps",
        "at.t - 1",
        "at.t",
        "test_theory.py::test_the_network_sees_0_based_times",
    ),
    Mutant(
        15,
        "the last step leaves the noise of t = 1",
        "theory.plans.first_order:pairs",
        "return times[:-1], times[1:]",
        "return times[:-1], np.maximum(times[1:], 0.5)",
        "test_exact_laws.py::test_the_last_step_ends_clean",
    ),
    Mutant(
        16,
        "a step past the end",
        "theory.plans.spacing:check_times",
        "times[-1] < 0",
        "times[-1] < -1e9",
        "test_exact_laws.py::test_times_must_fall_to_0",
    ),
    Mutant(
        17,
        "DDIM uses alpha_bar of the time before for x_t",
        "theory.plans.first_order:towards_x0",
        "A * np.sqrt(bar_t)",
        "A * np.sqrt(bar_s)",
        "test_exact_laws.py::test_every_step_keeps_the_marginal",
    ),
    Mutant(
        18,
        "x_0 from eps with the wrong sign",
        "theory.parametrization:_eps",
        "-xp.sqrt(1 - bar) / xp.sqrt(bar)",
        "xp.sqrt(1 - bar) / xp.sqrt(bar)",
        "test_theory.py::test_every_prediction_recovers_x_0_from_its_papers_target",
    ),
    Mutant(
        18,
        "v with the wrong sign",
        "theory.parametrization:_v",
        "-xp.sqrt(1 - bar)",
        "xp.sqrt(1 - bar)",
        "test_theory.py::test_every_prediction_recovers_x_0_from_its_papers_target",
    ),
    Mutant(
        19,
        "the output of an x_0 network is used as eps",
        "theory.parametrization:PREDICTIONS",
        "_x0",
        "_eps",
        "test_theory.py::test_every_prediction_recovers_x_0_from_its_papers_target",
    ),
    Mutant(
        23,
        "DDIM's noise is that of one step, not of the jump",
        "theory.plans.first_order:ddim",
        "posterior(schedule, t, s)",
        "posterior(schedule, t, t - 1)",
        "test_exact_laws.py::test_ddim_with_eta_1_is_ancestral_with_the_posterior_variance",
    ),
    Mutant(
        23,
        "DDIM's direction doesn't make room for the noise",
        "theory.plans.first_order:towards_x0",
        "1 - bar_s - C**2",
        "1 - bar_s",
        "test_exact_laws.py::test_every_step_keeps_the_marginal",
    ),
    Mutant(
        24,
        "churn's noise is multiplied by gamma instead of S_noise",
        "theory.plans.two_stage:heun",
        "churn_noise * np.sqrt(noise)",
        "min(churn / n, np.sqrt(2) - 1) * np.sqrt(noise)",
        "test_solvers.py::test_every_row_keeps_the_marginal_of_a_point",
    ),
    Mutant(
        24,
        "S_noise is left out",
        "theory.plans.two_stage:heun",
        "churn_noise * np.sqrt(noise)",
        "np.sqrt(noise)",
        "test_solvers.py::test_every_sampler_has_the_law_of_its_papers_algorithm",
    ),
    Mutant(
        24,
        "the loop is one step short",
        "theory.plans.two_stage:heun",
        "range(n)",
        "range(max(n - 1, 1))",
        "test_solvers.py::test_every_sampler_makes_exactly_its_evaluations_and_ends_clean",
    ),
    Mutant(
        24,
        "the slope is one evaluation stale: the corrector has Euler's own",
        "theory.plans.two_stage:_correction",
        "[-c, c]",
        "[0.0, 0.0]",
        "test_solvers.py::test_the_error_falls_with_the_theoretical_order",
    ),
    Mutant(
        25,
        "an SDE solver adds noise and doesn't drift for it",
        "theory.plans.multistep:_exponential",
        "1 + eta**2",
        "np.ones_like(eta)",
        "test_solvers.py::test_every_row_keeps_the_marginal_of_a_point",
    ),
    Mutant(
        25,
        "the corrector starts from the state that was predicted",
        "theory.plans.multistep:unipc",
        "B[k, 1:] -= A[k] * predictor[k - 1]",
        "",
        "test_solvers.py::test_every_row_keeps_the_marginal_of_a_point",
    ),
    Mutant(
        28,
        "a time that comes twice is let in",
        "theory.plans.spacing:check_times",
        "np.all(np.diff(times) < 0)",
        "np.all(np.diff(times) <= 0)",
        "test_exact_laws.py::test_times_must_fall_to_0",
    ),
    Mutant(
        31,
        "an option that a sampler doesn't have is ignored",
        "theory.plans.make:make_plan",
        "extra = [name for name in options if name not in row.options]",
        "extra, options = [], {name: value for name, value in options.items() if name in row.options}",
        "test_solvers.py::test_plans_refuse_bad_options",
    ),
    Mutant(
        34,
        "on the way up x0_hat is predicted at the time after, and used with alpha_bar of this one",
        "theory.plans.multistep:inversion",
        "return Plan(times, schedule.alpha_bar_at(times), A, B, C, made_by=made_by)",
        "later = np.append(times[1:], schedule.T)\n"
        "return Plan(later, schedule.alpha_bar_at(times), A, B, C, made_by=made_by)",
        "test_solvers.py::test_the_way_up_predicts_where_x_is_from_t_1_to_below_T",
    ),
    Mutant(
        34,
        "the way up goes beyond the top",
        "theory.plans.multistep:inversion",
        "log_snr(schedule, schedule.T, evaluations + 1)[-2::-1]",
        "np.append(log_snr(schedule, schedule.T, evaluations)[-2::-1], schedule.T + 1)",
        "test_solvers.py::test_the_way_up_predicts_where_x_is_from_t_1_to_below_T",
    ),
    Mutant(
        36,
        "min-SNR takes the larger",
        "theory.losses:_min_snr",
        "namespace(at.t).clip(at.snr, None, MIN_SNR_GAMMA)",
        "namespace(at.t).clip(at.snr, MIN_SNR_GAMMA, None)",
        "test_theory.py::test_the_losses_equal_their_definitions_for_every_prediction",
    ),
    Mutant(
        36,
        "the weight for v is that for eps",
        "theory.losses:_v",
        "at.snr + 1",
        "at.snr",
        "test_theory.py::test_the_losses_equal_their_definitions_for_every_prediction",
    ),
    Mutant(
        36,
        "a weight in x_0-space is used in the network's",
        "theory.losses:loss_weight",
        "weight * coefficients(prediction, schedule, at).c_out ** 2",
        "weight",
        "test_theory.py::test_the_losses_equal_their_definitions_for_every_prediction",
    ),
    Mutant(
        45,
        "another expression for log(1 - alpha_bar_T) in the prior term",
        "theory.losses:bound_terms",
        "math.log1p(-bar)",
        "math.log(1 + bar)",
        "test_theory.py::test_the_bound_of_a_gaussian_is_its_exact_value",
    ),
    Mutant(
        45,
        "the entropy is missing from the terms of the bound",
        "theory.losses:bound_terms",
        "0.5 * (ratio - 1 - np.log(ratio))",
        "0.5 * (ratio - 1)",
        "test_theory.py::test_the_bound_of_a_gaussian_is_its_exact_value",
    ),
]

NETWORKS = [
    Mutant(
        40,
        "what attention computes is thrown away",
        "nn.layers:Attention.forward",
        "self.out(h)",
        "self.out(x.flatten(2).transpose(1, 2))",
        "test_nn.py::test_attention_is_softmax_over_the_keys",
    ),
    Mutant(
        40,
        "softmax over the queries",
        "nn.layers:Attention.forward",
        "attend(q, k, v)",
        "attend(k, q, v)",
        "test_nn.py::test_attention_is_softmax_over_the_keys",
    ),
    Mutant(
        40,
        "the skip of the top level is missing",
        "nn.unet:UNet.forward",
        "skips = [h]",
        "skips = [torch.zeros_like(h)]",
        "test_nn.py::test_every_block_on_the_way_up_gets_its_skip",
    ),
    Mutant(
        40,
        "added skips are lost",
        "nn.unet:UNet.forward",
        "h = h + skip",
        "h = h + 0 * skip",
        "test_nn.py::test_skips_are_added_where_channels_are_as_many",
    ),
    Mutant(
        40,
        "sines and cosines are swapped",
        "nn.embedding:TimeEmbedding.forward",
        "[angle.sin(), angle.cos()]",
        "[angle.cos(), angle.sin()]",
        "test_nn.py::test_time_embedding_is_sines_then_cosines_from_1_to_1e_4",
    ),
    Mutant(
        41,
        "the frequencies of the time embedding are made in bfloat16",
        "nn.embedding:TimeEmbedding.forward",
        "torch.exp(-math.log(10000) / (self.count - 1) * exponent)",
        "torch.exp(-math.log(10000) / (self.count - 1) * exponent).bfloat16()",
        "test_nn.py::test_reduced_precision_touches_the_network_alone",
    ),
    Mutant(
        30,
        "no class is the first class",
        "nn.embedding:Embedded.embedded",
        'emb + self.condition_embeddings[f"of_{name}"](cond[name].to(emb.dtype))',
        'emb + self.condition_embeddings[f"of_{name}"]'
        "(F.one_hot(cond[name].argmax(1), cond[name].shape[1]).to(emb.dtype))",
        "test_nn.py::test_zeros_and_a_missing_name_tell_nothing_and_so_does_no_mapping",
    ),
]

MODEL_AND_DATA = [
    Mutant(
        21,
        "unbounded data are clipped",
        "model.affine:Codec.bounds",
        "return None",
        "return -1.0, 1.0",
        "test_sampling.py::test_a_model_without_classes_or_bounds_says_so",
    ),
    Mutant(
        30,
        "what is told is hidden at sampling too",
        "model.denoiser:Denoiser._net",
        "cond = dict(cond or {})",
        "cond = {name: told * (torch.rand(len(told), 1) >= self.conditions[name].dropout)"
        " for name, told in (cond or {}).items()}",
        "test_guidance.py::test_scale_1_is_the_conditional_model_to_the_byte_and_asks_one_network",
    ),
    Mutant(
        38,
        "a checkpoint is loaded without its average",
        "model.file:averaged",
        "{name.removeprefix(AVERAGED): tensors[name] for name in tensors if name.startswith(AVERAGED)}",
        '{name.removeprefix("net."): tensors[name] for name in tensors if name.startswith("net.")}',
        "test_hidden.py::test_a_checkpoint_is_loaded_with_its_averaged_weights",
    ),
    Mutant(
        39,
        "the data stay in [0, 1]",
        "model.affine:Codec.encode",
        "self._columns",
        "(0 * self._columns[0], 2 * self._columns[1])",
        "test_sampling.py::test_a_clean_sample_is_noised_to_t_and_denoised_from_t",
    ),
    Mutant(
        39,
        "the way back makes everything positive",
        "model.affine:Codec.decode",
        "np.array(x_0, dtype=np.float64)",
        "np.maximum(np.asarray(x_0, dtype=np.float64), 0)",
        "test_sampling.py::test_the_range_of_other_data_is_not_minus_1_to_1",
    ),
    Mutant(
        43,
        "a batch larger than the data set never comes",
        "data.dataset:Dataset.indices",
        "epochs, within = np.divmod(places, len(self))",
        "epochs, within = places // len(self), places",
        "test_training.py::test_less_data_than_a_batch_trains",
    ),
]

TRAINING = [
    Mutant(
        8,
        "training never sees T",
        "training.objectives:uniform",
        "xp.clip(xp.floor(u * schedule.T), None, schedule.T - 1) + 1",
        "xp.clip(xp.floor(u * schedule.T), 1, None)",
        "test_training.py::test_times_are_whole_uniform_on_1_to_T_and_never_outside",
    ),
    Mutant(
        30,
        "the loss on held-out samples hides what is told",
        "runs.monitor:_losses",
        "ema.told(data.values_at(indices, ema.conditions), n)",
        "ema.told({}, n)",
        "test_hidden.py::test_conditions_are_hidden_in_training_alone",
    ),
    Mutant(
        30,
        "what a whole batch is told is hidden, or nothing",
        "training.inputs:hide",
        "(u[:, 0] < q) & (u[:, 2 + i] < u[:, 1] ** power)",
        "(u[:1, 0] < q) & (u[:1, 2 + i] < u[:1, 1] ** power)",
        "test_hidden.py::test_conditions_are_hidden_one_by_one_with_their_probability",
    ),
    Mutant(
        37,
        "the gradients of micro-batches add up to a multiple",
        "training.gradient:Gradient._losses",
        "(total.sum() / count).backward()",
        "total.mean().backward()",
        "test_training.py::test_accumulation_gives_the_same_update",
    ),
    Mutant(
        37,
        "the average moves once a micro-batch",
        "training.updates:Updates._move",
        "self._average(dials.share)",
        "for _ in range(0, self.config.batch_size, self.config.micro_batch or 8): self._average(dials.share)",
        "test_training.py::test_the_average_follows_its_formula_once_a_step",
    ),
    Mutant(
        38,
        "the average is never stepped",
        "training.updates:Updates._move",
        "self._average(dials.share)",
        "",
        "test_training.py::test_the_average_follows_its_formula_once_a_step",
    ),
    Mutant(
        38,
        "buffers are averaged",
        "training.updates:Updates._average",
        "average.copy_(buffers[name])",
        "average.lerp_(buffers[name], share)",
        "test_training.py::test_buffers_are_not_averaged_and_the_schedule_is_none_of_the_weights",
    ),
    Mutant(
        38,
        "the average is lost on resuming",
        "training.trainer:Trainer._wanted",
        '{f"{AVERAGED}{name}": [tensor] for name, tensor in self.ema.net.state_dict().items()}',
        '{f"{AVERAGED}{name}": [tensor.clone()] for name, tensor in self.ema.net.state_dict().items()}',
        "test_training.py::test_every_way_goes_on_to_the_bit",
    ),
    Mutant(
        41,
        "noise is added in reduced precision",
        "training.objectives:denoise",
        "q_sample(schedule, x_0, at, eps)",
        "q_sample(schedule, x_0.bfloat16(), at, eps.bfloat16()).float()",
        "test_training.py::test_the_simple_loss_is_algorithm_1",
    ),
    Mutant(
        42,
        "only one sample of the batch is trained on",
        "training.gradient:Gradient._losses",
        "(total.sum() / count).backward()",
        "total[0].backward()",
        "test_training.py::test_accumulation_gives_the_same_update",
    ),
]

SAMPLING = [
    Mutant(
        6,
        "cosine with eps explodes at the first step (x0_hat not clipped)",
        "sampling.executor:trajectory",
        "x0_hat = through(on_x0, predicted)",
        "x0_hat = predicted",
        "test_exact_laws.py::test_a_small_error_of_the_network_never_explodes_within_the_datas_range",
    ),
    Mutant(
        21,
        "the clip range is always -1 to 1",
        "sampling.choices:bounded",
        "clip_x0(*bounds)",
        "clip_x0(-1.0, 1.0)",
        "test_sampling.py::test_the_range_of_other_data_is_not_minus_1_to_1",
    ),
    Mutant(
        25,
        "a fitted plan adds noise early instead of late",
        "sampling.bench:Bench.with_noise",
        "plan.alpha_bar[1:] > 0.5",
        "plan.alpha_bar[1:] < 0.5",
        "test_fit.py::test_with_noise_its_late_rows_are_those_of_the_sde_on_the_same_times_but_for_the_last",
    ),
    Mutant(
        25,
        "the shift towards what was measured has not the size that keeps the law",
        "sampling.inverse:by_gradient",
        "2 * np.sqrt(schedule.alpha_bar_at(t)) * observation.operator.norm2",
        "2 * observation.operator.norm2",
        "test_inverse.py::test_by_gradient_the_law_is_nearly_the_conditional_one_for_data_of_unit_variance",
    ),
    Mutant(
        26,
        "the start is noised for the wrong end of the plan",
        "sampling.sampler:SampleStream._jobs",
        "self.plan.times[0]",
        "self.plan.times[-2]",
        "test_sampling.py::test_a_clean_sample_is_noised_to_t_and_denoised_from_t",
    ),
    Mutant(
        26,
        "two noised pictures are brought back from T, whatever their noise",
        "sampling.edit:stream_between",
        "_without_noise(denoiser, start, config)",
        "_without_noise(denoiser, float(schedule.T), config)",
        "test_edit.py::test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t",
    ),
    Mutant(
        29,
        "the gradient of the guidance is taken at x0_hat instead of x_t",
        "sampling.inverse:by_gradient",
        "torch.autograd.grad(miss.square().sum(), x)",
        "torch.autograd.grad(miss.square().sum(), x_0)",
        "test_guidance.py::test_the_gradient_of_a_measurement_is_taken_at_x_t",
    ),
    Mutant(
        30,
        "rescaling is left out of guidance by what is told",
        "sampling.guidance:guided",
        "_rescaled(good + push, good, guidance.rescale)",
        "_rescaled(good + push, good, guidance.rescale if other is not None else 0.0)",
        "test_guidance.py::test_every_option_acts_in_every_sampler",
    ),
    Mutant(
        30,
        "the rescale setting is not passed on",
        "sampling.config:SampleConfig.rule",
        "self.guidance_rescale",
        "0.0",
        "test_guidance.py::test_every_option_acts_in_every_sampler",
    ),
    Mutant(
        30,
        "the better and the worse prediction are mixed up",
        "sampling.guidance:_push",
        "(scale - 1) * (good - bad)",
        "(scale - 1) * (bad - good)",
        "test_guidance.py::test_one_guided_step_is_its_closed_form",
    ),
    Mutant(
        30,
        "the interval is open at the wrong end",
        "sampling.guidance:Guidance.acts_at",
        "self.acts & (low < t) & (t <= high)",
        "self.acts & (low <= t) & (t < high)",
        "test_guidance.py::test_two_networks_are_asked_exactly_at_low_below_t_to_high",
    ),
    Mutant(
        30,
        "a worse model is told nothing",
        "sampling.guidance:guided",
        "other(x_t, t, cond)",
        "other(x_t, t, {})",
        "test_guidance.py::test_another_model_is_told_the_same",
    ),
    Mutant(
        31,
        "what is told is silently ignored where a sample is given",
        "sampling.told:tell",
        "name in given",
        "name in given and not (silent and condition.dropout > 0)",
        "test_guidance.py::test_what_is_given_is_told_nothing_unless_asked_or_guided",
    ),
    Mutant(
        31,
        "a sampler that is asked for is ignored where a plan was fitted",
        "sampling.choices:fitted_plan",
        "config.sampler",
        "None",
        "test_fit.py::test_and_for_nothing_else",
    ),
    Mutant(
        31,
        "a plan fitted to other guidance is used",
        "sampling.choices:fitted_plan",
        'plan.made_by["guidance"] == wanted',
        "True",
        "test_fit.py::test_and_for_nothing_else",
    ),
    Mutant(
        32,
        "a real sample is noised to t + 1 and denoised from t",
        "sampling.origin:Origin.states",
        "t",
        "min(t + 1, denoiser.schedule.T)",
        "test_sampling.py::test_a_clean_sample_is_noised_to_t_and_denoised_from_t",
    ),
    Mutant(
        32,
        "two pictures are noised to t + 1 and brought back from t",
        "sampling.edit:stream_between",
        "q_sample(schedule, (1 - w) * x_a + w * x_b, start, eps)",
        "q_sample(schedule, (1 - w) * x_a + w * x_b, min(start + 1, schedule.T), eps)",
        "test_edit.py::test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t",
    ),
    Mutant(
        33,
        "the known part is not restored at the last step",
        "sampling.executor:ends_in_a_mixture",
        "bool(plan.times[k + 1] == 0 and (plan.A[k] or plan.B[k, 1 : k + 1].any()))",
        "False",
        "test_edit.py::test_the_run_itself_ends_at_what_is_known",
    ),
    Mutant(
        33,
        "known pixels come back through the model's range, not to the bit",
        "sampling.restoration:stream_restored",
        "np.where(known, measured, codec.decode(x_0))",
        "codec.decode(x_0)",
        "test_edit.py::test_known_pixels_come_back_to_the_bit_whatever_else_is_in_the_picture",
    ),
    Mutant(
        33,
        "clipping comes after the projection, and undoes it",
        "sampling.sampler:SampleStream.__init__",
        "[*self.on_x0, *observation.on_x0()]",
        "[*observation.on_x0(), *self.on_x0]",
        "test_edit.py::test_the_projection_comes_after_clipping",
    ),
    Mutant(
        33,
        "known pixels are given the noise of the time after",
        "sampling.executor:row_of",
        "plan.alpha_bar[k]",
        "plan.alpha_bar[k + 1]",
        "test_inverse.py::test_known_pixels_have_at_every_time_the_noise_of_that_time",
    ),
    Mutant(
        33,
        "the mask is the wrong way round",
        "sampling.inverse:Known.project",
        "torch.where(self.known.to(x.device), y, x)",
        "torch.where(self.known.to(x.device), x, y)",
        "test_inverse.py::test_known_pixels_are_put_back_to_the_bit",
    ),
    Mutant(
        35,
        "the weights of all stand where one number a sample belongs",
        "sampling.edit:stream_between",
        "np.linspace(0, 1, n).reshape(-1, *[1] * len(shape))",
        "np.linspace(0, 1, n)",
        "test_edit.py::test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t",
    ),
    Mutant(
        35,
        "each sample on the way has its own noise",
        "sampling.edit:stream_between",
        'rng.normal(config.seed, "sample", 0, shape=denoiser.shape)',
        'rng.normal(config.seed, "sample", np.arange(n), shape=denoiser.shape)',
        "test_edit.py::test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t",
    ),
    Mutant(
        42,
        "the same noise for every sample",
        "sampling.slots:Slots._noise",
        "[job.index for job in jobs]",
        "[0 for job in jobs]",
        "test_sampling.py::test_sample_i_is_the_same_bytes_alone_in_a_batch_and_in_reverse",
    ),
]

COMMAND_LINE = [
    Mutant(
        31,
        "an option of the command line is ignored",
        "cli.flags:with_options",
        "value is not None",
        "value is not None and k != 'churn'",
        "test_commands.py::test_options_reach_the_plan",
    ),
]

MUTANTS = sorted(
    [*THEORY, *NETWORKS, *MODEL_AND_DATA, *TRAINING, *SAMPLING, *COMMAND_LINE],
    key=lambda mutant: mutant.number,
)

BY_CONSTRUCTION = {
    6: "beside the mutant: static clipping to the stored range is on wherever the data have one",
    9: "times are floor(uT) + 1 for u in [0, 1), at most T",
    20: "a plan's row has only x and x0_hat: eps_hat is not kept, so it cannot be left behind by a clip",
    27: "a plan is a value and the history is local to a run: there is no state to reuse",
    28: "beside the mutant: there is no step counter; a run is a loop over rows",
    29: "beside the mutant: no classifier guides; the only gradient is that of an observation, over x_t",
    37: "beside the mutants: rate, clipping, optimizer and average act once, in `Trainer.update`",
    42: "beside the mutants: noise is a function of (seed, purpose, index, step): no generator to share",
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
            f"mutant of `{m.function}`",
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
