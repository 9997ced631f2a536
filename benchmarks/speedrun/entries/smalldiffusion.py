"""smalldiffusion: its U-Net, schedule, training loop and sampler as in its examples; v, batches of 32."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.pop(0)  # this file has the name of a library
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from contract import MOST_EVALUATIONS, arguments, write

WIDTH = {"mnist": 32, "fashion": 32, "cifar10": 64}


def main() -> None:
    args, clock = arguments(__doc__, tuple(WIDTH))
    import peer
    import torch

    peer.stand_in()
    from accelerate import Accelerator
    from smalldiffusion import Scaled, ScheduleLogLinear, Unet, samples, training_loop
    from smalldiffusion.diffusion import generate_train_sample
    from smalldiffusion.model import CondEmbedderLabel, PredV
    from torch_ema import ExponentialMovingAverage

    torch.manual_seed(args.seed)
    data, width = peer.Pictures.read(args), WIDTH[args.dataset]
    _, channels, side, _ = data.pictures.shape
    schedule = ScheduleLogLinear(sigma_min=0.01, sigma_max=20 if channels == 1 else 35, N=800)
    net = Scaled(PredV(Unet))(
        side, channels, channels, ch=width, ch_mult=(1, 2, 2), attn_resolutions=(side // 4,), dropout=0.0,
        cond_embed=CondEmbedderLabel(4 * width, 10),
    ).to(peer.DEVICE)  # fmt: skip
    batches = data.batches(flip=channels == 3)
    x_0, sigma, eps, told = generate_train_sample(next(batches), schedule, conditional=True)
    half = peer.faster(lambda: type(net).get_loss(net, x_0, sigma, eps, cond=told), net)
    accelerator = Accelerator(mixed_precision="bf16" if half else "no", cpu=peer.DEVICE.type == "cpu")
    ema, images = ExponentialMovingAverage(net.parameters(), decay=0.999), 0
    loop = training_loop(batches, net, schedule, accelerator=accelerator, epochs=1, lr=7e-4, conditional=True)
    for at in loop:
        ema.update()  # with the weights before this step, as in the library's examples
        images += len(at.x0)
        if not clock.left():
            break
    seconds = clock.seconds()
    sigmas = schedule.sample_sigmas(MOST_EVALUATIONS)

    def some(classes: torch.Tensor) -> torch.Tensor:
        *_, x = samples(net, sigmas, gam=1.6, batchsize=len(classes), cond=classes, accelerator=accelerator)
        return x / 2 + 0.5

    with ema.average_parameters():
        drawn = peer.draw(some, data.spread(args.n), args.seed, half)
    taken, packages = len(sigmas) - 1, ("smalldiffusion", "accelerate", "torch")
    write(args.out, drawn, evaluations=taken, images=images, seconds=seconds, packages=packages)


if __name__ == "__main__":
    main()
