"""denoising-diffusion-pytorch: its U-Net, process, average, DDIM with noise; v, batches of 32, no class."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.pop(0)  # this file has the name of a library
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from contract import MOST_EVALUATIONS, arguments, write

DIM = {"mnist": 32, "fashion": 32, "cifar10": 64}


def main() -> None:
    args, clock = arguments(__doc__, tuple(DIM))
    import peer
    import torch

    peer.stand_in()
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    torch.manual_seed(args.seed)
    data = peer.Pictures.read(args)
    _, channels, side, _ = data.pictures.shape
    net = Unet(dim=DIM[args.dataset], dim_mults=(1, 2, 4), channels=channels)
    diffusion = GaussianDiffusion(
        net,
        image_size=side,
        objective="pred_v",
        sampling_timesteps=MOST_EVALUATIONS,
        ddim_sampling_eta=1.0,
    ).to(peer.DEVICE)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-3, betas=(0.9, 0.99))
    ema = EMA(diffusion, beta=0.995, update_every=10)
    batches = data.batches(flip=args.dataset == "cifar10")
    images, half = peer.train(
        diffusion, lambda clean, _: diffusion(clean / 2 + 0.5), optimizer, ema.update, batches, clock
    )
    seconds = clock.seconds()
    told = data.spread(args.n)
    drawn = peer.draw(lambda told: ema.ema_model.sample(batch_size=len(told)), told, args.seed, half)
    del drawn["classes"]  # it was told none
    packages = ("denoising-diffusion-pytorch", "ema-pytorch", "torch")
    write(args.out, drawn, evaluations=MOST_EVALUATIONS, images=images, seconds=seconds, packages=packages)


if __name__ == "__main__":
    main()
