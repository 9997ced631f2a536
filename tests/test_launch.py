"""Job files for clusters say what was asked for, and are what those read."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from alphabar.cli.launch import PLATFORMS
from program import call

WORDS = ["launch", "--nodes", 2, "--processes", 4, "--hours", 3, "--print"]
TRAIN = ["train", "my data", "--minutes", 600, "--out", "runs/mine"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_file_begins_the_training(platform, capsys):
    assert call(*WORDS, platform, *TRAIN) == 0
    printed = capsys.readouterr().out
    assert "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-id" in printed
    assert "-m alphabar train 'my data' --minutes 600 --out runs/mine" in printed
    assert not re.search(r"\{(nodes|processes|hours|words|torchrun)\}", printed)


def test_slurms_is_a_script_that_queues_again_when_its_time_is_over(tmp_path, capsys):
    call(*WORDS, "slurm", *TRAIN)
    printed = capsys.readouterr().out
    assert "#SBATCH --time=3:00:00" in printed
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, does in {
        "srun": 'trap "exit 143" TERM; echo "srun $@"; touch begun; while :; do sleep 0.05; done',
        "scontrol": 'echo "scontrol $@"; [ "$1" = show ] && echo first',
    }.items():
        (tools / name).write_text(f"#!/bin/bash\n{does}\n")
        (tools / name).chmod(0o755)
    (tmp_path / "job").write_text(printed)
    path = f"{tools}:/usr/bin:/bin"
    job = subprocess.Popen(
        ["bash", "job"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={"PATH": path, "SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "n[1-2]"},
    )  # fmt: skip
    while not (tmp_path / "begun").exists() and job.poll() is None:
        pass
    job.terminate()
    told, _ = job.communicate(timeout=20)
    assert job.returncode == 143
    assert "scontrol requeue 17" in told
    assert "-m alphabar train my data --minutes 600" in told


@pytest.mark.parametrize("platform", ["k8s", "sky"])
def test_the_others_are_yaml(platform, capsys):
    yaml = pytest.importorskip("yaml")
    call(*WORDS, platform, *TRAIN)
    parts = list(yaml.safe_load_all(capsys.readouterr().out))
    if platform == "sky":
        assert parts[0]["num_nodes"] == 2
        assert parts[0]["resources"]["accelerators"] == "H100:4"
    else:
        service, job = parts
        assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 4}


def test_what_is_no_training_or_no_platform_is_refused(capsys):
    assert call(*WORDS, "slurm", "sample", "runs/mine") == 2
    assert "launch begins a training" in capsys.readouterr().err
    assert call(*WORDS, "slrum", *TRAIN) == 2
    assert "did you mean 'slurm'?" in capsys.readouterr().err
    assert call(*WORDS, "slurm", "train", "mine", "--bogus", 4) == 2
    assert "--bogus" in capsys.readouterr().err
    assert call("launch", "--print", "slurm", "train", "mine", "--processes", 4) == 2
    assert "comes before train" in capsys.readouterr().err
