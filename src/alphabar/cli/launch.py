"""alphabar launch: a file that begins a training on a cluster; it is printed, and sent nowhere."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from ..errors import unknown
from . import options
from .app import command
from .console import document, show

TRAIN = "torchrun --nnodes {nodes} --nproc-per-node {processes} --rdzv-backend c10d"

SLURM = """\
#!/bin/bash
# sbatch this file. When its time is over the run is saved, and it goes on in a new turn of the queue.
#SBATCH --job-name=alphabar
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={processes}
#SBATCH --time={hours}:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
trap 'again=1; kill -TERM "$step"' TERM
srun {torchrun} --rdzv-id $SLURM_JOB_ID \\
  --rdzv-endpoint "$head:29500" -m alphabar {words} &
step=$!
wait "$step"  # until it ends, or the time is nearly over
wait "$step"
code=$?
if [ "$again" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
"""

K8S = """\
# kubectl apply -f this file. IMAGE has alphabar installed; the claim is a disk that all pods share.
apiVersion: v1
kind: Service
metadata: {{name: alphabar}}
spec:
  clusterIP: None
  selector: {{job-name: alphabar}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: alphabar}}
spec:
  completionMode: Indexed
  completions: {nodes}
  parallelism: {nodes}
  backoffLimit: 20
  template:
    spec:
      subdomain: alphabar
      restartPolicy: Never
      terminationGracePeriodSeconds: 120
      volumes:
        - {{name: shared, persistentVolumeClaim: {{claimName: alphabar}}}}
      containers:
        - name: train
          image: IMAGE
          workingDir: /shared
          volumeMounts: [{{name: shared, mountPath: /shared}}]
          resources: {{limits: {{nvidia.com/gpu: {processes}}}}}
          command: [sh, -c]
          args:
            - >-
              exec {torchrun} --rdzv-id alphabar
              --rdzv-endpoint alphabar-0.alphabar:29500 -m alphabar {words}
"""

SKY = """\
# sky jobs launch this file: a machine that is taken away is replaced, and the run goes on from the bucket.
name: alphabar
num_nodes: {nodes}
resources:
  accelerators: H100:{processes}
  use_spot: true
file_mounts:
  /shared: {{name: alphabar-runs, mode: MOUNT}}
setup: pip install alphabar  # or from where you have it
run: |
  cd /shared
  head=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)
  {torchrun} --rdzv-id $SKYPILOT_TASK_ID \\
    --rdzv-endpoint "$head:29500" -m alphabar {words}
"""

PLATFORMS = {"slurm": SLURM, "k8s": K8S, "sky": SKY}


def launch(
    words: Annotated[
        list[str], typer.Argument(metavar="train DATA …", help="The training, as it would be typed.")
    ],
    platform: Annotated[
        str, typer.Option("--print", metavar="NAME", help=f"Of what: {', '.join(PLATFORMS)}.")
    ],
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Processes on each, one for each GPU.")] = 8,
    hours: Annotated[int, typer.Option(min=1, help="Before the queue may take the machines.")] = 12,
    json: options.Json = False,
) -> None:
    """Print a job file for Slurm, Kubernetes or SkyPilot, which begins a training in several processes.

    Options of `launch` come first: alphabar launch --print slurm --nodes 2 train DATA --minutes 600.
    """
    if platform not in PLATFORMS:
        raise unknown("platform", platform, PLATFORMS)
    if words[0] != "train":
        raise ValueError(f"launch begins a training: train DATA …, got {words[0]!r}")
    if any(word.partition("=")[0] == "--processes" for word in words):
        raise ValueError("--processes comes before train here: leave it out of the training")
    command("train").make_context("train", words[1:])  # raises if it is none
    typed = {"torchrun": TRAIN.format(nodes=nodes, processes=processes), "words": shlex.join(words)}
    text = PLATFORMS[platform].format(nodes=nodes, processes=processes, hours=hours, **typed).rstrip()
    if json:
        document({"platform": platform, "file": text})
    else:
        show(text)


launch.settings = {"allow_interspersed_args": False}  # type: ignore[attr-defined]
