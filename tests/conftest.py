from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile

import pytest
import torch

CACHE = os.environ["ALPHABAR_CACHE"] = tempfile.mkdtemp(prefix="alphabar-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

torch.set_num_threads(1)  # small networks: more threads only get in each other's way


THOROUGH = {  # files, and single tests, that `make test` leaves out and `make check` runs
    "test_mutants",
    "test_a_run_that_begins_with_weights_killed_at_every_boundary",
    "test_longer_killed_at_boundaries",
    "test_size_of_a_page_of_larger_pictures",
}
SAMPLED = re.compile("|".join([  # of what has many cases, those that `make test` leaves to `make check`
    r"test_killed_at_random_moments\[0\.2",
    r"test_killed_at_every_boundary_of_a_save\[(5|9|13|17|21|29|33|37)\]",
    r"test_every_sampler_has_the_law_of_its_closed_form\[1000-(?!eps-linear)",
    r"test_every_sampler_has_the_law_of_its_papers_algorithm\[.*(cosine|sigmoid)",
    r"test_every_row_keeps_the_marginal_of_a_point\[.*(cosine|linear)",
    r"test_every_sampler_makes_exactly_its_evaluations_and_ends_clean\[(karras|log_snr)",
    r"test_the_ideal_denoiser_of_a_gaussian_has_its_law_in_any_rank\[shape[12]",
    r"test_any_data\[0\.0",
    r"test_a_fitted_plan_with_noise_keeps_the_datas_spread\[(10|6-False)",
    r"test_a_damaged_checkpoint_is_set_aside_\w+\[(flipped|header)",
    r"test_a_full_disk_stops_with_one_message_\w+\[(0|12)",
    r"test_the_progress_bar_works_on_a_terminal",
    r"test_data_in_another_range_come_back_in_it",
    r"test_killed_(while|after)_it_\w+\[(wandb|trackio)",
]))  # fmt: skip
SLOW = {  # what `make quick` leaves out as well
    *("test_any_samples", "test_bad_input", "test_cli", "test_commands", "test_diagnose", "test_edit"),
    *("test_evaluate", "test_evaluation", "test_fit", "test_flags", "test_guidance", "test_inverse"),
    *("test_likelihood", "test_output", "test_report", "test_results", "test_resume", "test_runs"),
    *("test_solvers", "test_training", "test_every_sampler_has_the_law_of_its_closed_form"),
    *("test_the_documents_python_runs", "test_sinks", "test_data", "test_memorization", "test_slots"),
}


def pytest_collection_modifyitems(items):
    for item in items:
        names = {item.path.stem, getattr(item, "originalname", item.name)}
        thorough = names & THOROUGH or SAMPLED.match(item.name)
        if thorough:
            item.add_marker(pytest.mark.thorough)
        if thorough or names & SLOW or item.path.stem.startswith("test_against_"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _clean_random_state():
    """Tests must not depend on the global generators, and neither may the package."""
    torch.manual_seed(0)


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
